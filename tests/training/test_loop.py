"""The training loop: resume, not a number, schedules."""

import pytest
import torch

from pipeline.job import Job
from store.blobs import Blobs
from training.loop import TrainingError, train, warmup_cosine, warmup_steps


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
    options = {"steps": 40, "factor": lambda i: warmup_cosine(i, steps=40, warmup=5), "save_every": 10}
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


def test_learning_rates_fall_where_told():
    assert [warmup_steps(s, warmup=2, drops=(5, 8)) for s in (0, 1, 4, 5, 8)] == pytest.approx([0.5, 1, 1, 0.1, 0.01])


def test_equal_checkpoints_are_equal_bytes(tmp_path):
    def write(folder):
        job = Job(
            stage="train_wspn",
            params={},
            seed=1,
            shard="all",
            shards=1,
            threads=1,
            device="cpu",
            root=tmp_path,
            files={},
            inputs={},
            scratch=folder,
            blobs=Blobs(folder),
        )
        job.save_checkpoint({"b": torch.ones(2), "a": torch.zeros(3)}, {name: 1 for name in "qwertyuiop"})
        return job.outputs[0].digest

    assert len({write(tmp_path / str(i)) for i in range(5)}) == 1
