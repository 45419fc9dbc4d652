"""The training loop: resume, not a number, schedules, optimizers."""

import pytest
import torch

from structures.errors import UserError
from training.loop import TrainingError, make_optimizer, step_seed, train, warmup_cosine, warmup_milestones


def fit(scratch, stop_at=None, bad_at=None):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)

    def step(i):
        if i == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(i))
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss * (float("nan") if i == bad_at else 1)}

    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    options = {"steps": 40, "lr_factor": lambda i: warmup_cosine(i, steps=40, warmup=5), "save_every": 10}
    curve = train(module, optimizer, step, scratch=scratch, description="fit", **options)
    return module.weight.detach().clone(), curve


def test_a_killed_training_resumes_to_the_same_weights_and_curve(tmp_path):
    whole, curve = fit(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=27)
    resumed, curve_again = fit(tmp_path / "b")
    assert torch.equal(whole, resumed)
    assert curve == curve_again
    assert curve[-1]["value"] < curve[0]["value"]


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"nan at step 23.*checkpoint\.pt"):
        fit(tmp_path, bad_at=23)
    assert issubclass(TrainingError, UserError)


def test_learning_rates_fall_at_milestones():
    factors = [warmup_milestones(s, warmup=2, milestones=[5, 8]) for s in (0, 1, 4, 5, 8)]
    assert factors == pytest.approx([0.5, 1, 1, 0.1, 0.01])


@pytest.mark.parametrize(("method", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_weights_that_learn_have_the_rate_of_the_start_of_their_name(method, kind):
    module = torch.nn.ModuleDict({"body": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)})
    module["body"].bias.requires_grad_(False)
    optimizer = make_optimizer(method, module, lr=0.5, weight_decay=0.1, lr_factors={"head": 4.0})
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    head, body = module["head"], module["body"]
    assert isinstance(optimizer, kind) and len(rates) == 3
    assert rates[id(body.weight)] == 0.5 and rates[id(head.weight)] == rates[id(head.bias)] == 2.0
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


def test_steps_parts_and_processes_draw_different_random_numbers():
    seeds = {step_seed(1, step, part, rank) for step in range(20) for part in range(3) for rank in range(3)}
    assert len(seeds) == 180
