"""Sharing a batch: two processes, or two parts, learn what one does from the whole."""

import subprocess
import sys

import pytest
import torch

from store.fingerprint import ROOT
from structures.errors import UserError
from training.processes import Team

SCRIPT = """
import sys
from pathlib import Path
import torch
from training.loader import Rows, StepLoader
from training.processes import Team
from training.loop import train

def learn(folder, accumulate):
    team = Team.of_this_process()
    team.join("cpu")
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)
    rows = [(torch.randn(3, generator=torch.Generator().manual_seed(i)), float(i)) for i in range(20)]
    share = {"rank": team.rank, "world": team.world, "parts": accumulate}
    loader = StepLoader(Rows(rows, lambda row: row), batch=8, seed=3, **share)

    def step(number, part=0):
        batch = loader(number)
        assert len(batch) == team.share(8, accumulate)
        x, y = torch.stack([x for x, _ in batch]), torch.tensor([[y] for _, y in batch])
        return {"loss": (module(x) - y).square().mean()}

    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    curve = train(module, optimizer, step, steps=12, factor=lambda _: 1.0, scratch=Path(folder) / str(team.rank),
                  description="fit", accumulate=accumulate, team=team, record_every=4)
    team.leave()
    if team.leads:
        torch.save({"weight": module.weight.detach(), "curve": [row["value"] for row in curve]}, Path(folder) / "learned.pt")

learn(sys.argv[1], int(sys.argv[2]))
"""


def learned(folder, accumulate=1, processes=1):
    folder.mkdir()
    script = folder / "learn.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, str(script), str(folder), str(accumulate)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "learned.pt", weights_only=True)


def test_two_processes_or_two_parts_learn_what_one_does_from_the_whole_batch(tmp_path):
    whole = learned(tmp_path / "whole")
    for name, options in (
        ("parts", {"accumulate": 2}),
        ("team", {"processes": 2}),
        ("both", {"accumulate": 2, "processes": 2}),
    ):
        other = learned(tmp_path / name, **options)
        torch.testing.assert_close(other["weight"], whole["weight"])
        assert other["curve"] == pytest.approx(whole["curve"])


def test_a_batch_that_can_not_be_shared_is_refused():
    assert Team(0, 8).share(64, 1) == Team(0, 1).share(64, 8) == 8
    with pytest.raises(UserError, match="batch of 10 can't be split over 2 processes, 2 times"):
        Team(0, 2).share(10, 2)
