"""The training loop: resume, not a number, schedules, optimizers."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from structures.errors import UserError
from training.loop import TrainingError, make_optimizer, step_seed, train, warmup_cosine, warmup_milestones


def fit(scratch, stop_at=None, bad_at=None, broken_at=None, method=torch.optim.AdamW, **changes):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)

    def step(i):
        if i == stop_at:
            raise KeyboardInterrupt
        if i == broken_at:
            raise IndexError("a network breaks that sees no numbers")
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(i))
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss * (float("nan") if i == bad_at else 1)}

    optimizer = method(module.parameters(), lr=0.1)
    options = {"steps": 40, "lr_factor": lambda i: warmup_cosine(i, steps=40, warmup=5), "save_every": 10}
    curve = train(module, optimizer, step, scratch=scratch, description="fit", **options | changes)
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
    with pytest.raises(TrainingError, match=r"the loss is nan at step 23.*checkpoint\.pt"):
        fit(tmp_path, bad_at=23)
    assert issubclass(TrainingError, UserError)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 20 and state["module"]["weight"].isfinite().all(), "weights after it were never kept"


def test_a_checkpoint_between_two_records_is_of_good_weights(tmp_path):
    with pytest.raises(TrainingError, match="nan at step 14"):
        fit(tmp_path, bad_at=14, save_every=3, record_every=20)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 12 and state["module"]["weight"].isfinite().all()


def test_a_network_that_breaks_on_bad_weights_says_since_when_they_are_bad(tmp_path):
    with pytest.raises(TrainingError, match="nan at step 21"):
        fit(tmp_path, bad_at=21, broken_at=22)
    with pytest.raises(IndexError, match="sees no numbers"):
        fit(tmp_path / "good", broken_at=22)


def test_gradients_without_a_norm_stop_the_training_too(tmp_path):
    module = torch.nn.Linear(1, 1, bias=False)

    def step(i):  # a finite loss, whose slope is none: of the square root at 0
        return {"loss": (module.weight * (0.0 if i == 3 else 1.0)).abs().sqrt().sum()}

    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    options = {"steps": 8, "lr_factor": lambda _: 1.0, "scratch": tmp_path, "description": "fit"}
    with pytest.raises(TrainingError, match="norm of the gradients is nan at step 3; no checkpoint"):
        train(module, optimizer, step, clip=1.0, **options)


class Reads(TorchFunctionMode):
    """Counts what makes the processor wait for a GPU: a number read out of a tensor."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        readers = ("item", "tolist", "__float__", "__bool__", "__int__", "numpy", "cpu", "__format__")
        self.count += getattr(function, "__name__", "") in readers
        return function(*args, **kwargs or {})


def test_numbers_are_read_once_a_record(tmp_path):
    with Reads() as reads:
        fit(tmp_path, method=torch.optim.SGD, clip=1.0, save_every=100)
    assert reads.count == 4, "40 steps, 10 a record"


def test_a_checkpoint_of_a_gpu_goes_on_on_a_processor(tmp_path, monkeypatch):
    whole, curve = fit(tmp_path / "a")
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # as tensors of a GPU are saved
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=27)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    resumed, curve_again = fit(tmp_path / "b")
    assert torch.equal(whole, resumed) and curve == curve_again


class OnGPU(torch.Tensor):
    """A tensor that can't be saved before it was copied to the processor."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def detach(self):
        return super().detach().as_subclass(OnGPU)

    def __reduce_ex__(self, protocol):
        raise RuntimeError("saved as it lay on the GPU, where every process would load it")


def test_a_checkpoint_holds_no_tensor_of_a_gpu(tmp_path):
    module = torch.nn.Linear(2, 1)
    module.weight = torch.nn.Parameter(torch.ones(1, 2).as_subclass(OnGPU))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

    def step(i):
        return {"loss": (module.weight * 2.0).square().sum().as_subclass(torch.Tensor) + module.bias.sum()}

    assert isinstance(module.state_dict()["weight"], OnGPU)
    options = {"steps": 3, "lr_factor": lambda _: 1.0, "scratch": tmp_path, "description": "fit", "save_every": 2}
    train(module, optimizer, step, **options)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert type(state["module"]["weight"]) is torch.Tensor
    assert all(type(value["momentum_buffer"]) is torch.Tensor for value in state["optimizer"]["state"].values())


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


def test_steps_and_parts_draw_different_random_numbers():
    seeds = {step_seed(1, step, part) for step in range(20) for part in range(9)}
    assert len(seeds) == 180 and step_seed(1, 0) == 1_000_003
