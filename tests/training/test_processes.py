"""Several processes: started from a stage's command line, they learn what one does from the whole batch."""

import os
import subprocess
import sys

import pytest
import torch

from store.fingerprint import ROOT
from structures.errors import UserError
from tests.conftest import forked, on_two_processes
from training.processes import (
    LAUNCHED,
    all_reduce_min_,
    batch_share,
    get_rank,
    get_world_size,
    is_main_process,
    reduce_dict,
)

# A stage in small: `python -m learn --run toy --gpus 2`. Its second layer serves few items, so that a process, or the
# last part of its batch, may leave it out.
LEARN = """
import argparse
import sys

from training.processes import all_reduce_min_, batch_share, destroy_process_group, get_rank, init_process_group
from training.processes import is_main_process, launch, reduce_dict

parser = argparse.ArgumentParser()
parser.add_argument("--run")
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--accumulate", type=int, default=1)
args = parser.parse_args()
launch(args.gpus)
assert args.gpus == 1 or "torch" not in sys.modules

from pathlib import Path

import torch

from training.detector import data_parallel
from training.loader import Rows, StepLoader
from training.loop import train


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.often, self.rarely = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)

    def forward(self, x, rare):
        rest = self.rarely(x[rare]).square().sum() if rare.any() else x.new_zeros(())
        return {"loss_often": self.often(x).square().mean(), "loss_rarely": rest / len(x)}


init_process_group("cpu")
torch.manual_seed(0)
module = Network()
network = data_parallel(module)
rows = [(torch.randn(3, generator=torch.Generator().manual_seed(i)), i % 10 == 0) for i in range(20)]
loader = StepLoader(Rows(rows, lambda row: row), batch=8, seed=3, accumulate=args.accumulate)


def take_step(step, part=0):
    batch = loader(step)
    assert len(batch) == batch_share(8, args.accumulate)
    losses = network(torch.stack([x for x, _ in batch]), torch.tensor([rare for _, rare in batch]))
    return {"loss": sum(losses.values()), **losses}


optimizer = torch.optim.SGD(module.parameters(), lr=0.01, weight_decay=0.01)
curve = train(network, optimizer, take_step, steps=12, lr_factor=lambda _: 1.0, scratch=Path(str(get_rank())),
              description="fit", accumulate=args.accumulate, record_every=4, save_every=5)
rank = torch.tensor(float(get_rank()))
least = 5.0 - rank
all_reduce_min_(least)
agreed = {"least": least.item(), "mean": reduce_dict({"rank": rank})["rank"].item()}
destroy_process_group()
if is_main_process():
    state = torch.load("0/checkpoint.pt", weights_only=True)["module"]
    result = {"run": args.run, "weights": module.state_dict(), "checkpoint": list(state), **agreed}
    torch.save(result | {"curve": [row["value"] for row in curve]}, "learned.pt")
"""


FOREIGN = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "PET_NNODES": "2", "MASTER_PORT": "1"}


def learned(folder, *arguments, processes=1):
    """What so many processes learn, in a shell that another launcher started, a cluster's say."""
    folder.mkdir()
    (folder / "learn.py").write_text(LEARN)
    words = ["learn", "--run", "toy", "--gpus", str(processes), *arguments]
    environment = os.environ | FOREIGN | {"PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"}
    if processes == 1:
        code, output = forked(words, folder, environment)
    else:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        code, output = done.returncode, done.stderr
    assert code == 0, output
    return torch.load(folder / "learned.pt", weights_only=True)


def test_two_processes_or_two_parts_learn_what_one_does_from_the_whole_batch(tmp_path):
    whole = learned(tmp_path / "whole")
    parts = learned(tmp_path / "parts", "--accumulate", "2")
    both = learned(tmp_path / "both", "--accumulate", "2", processes=2)
    for other, least, mean in ((parts, 5.0, 0.0), (both, 4.0, 0.5)):
        torch.testing.assert_close(other["weights"], whole["weights"])
        assert other["curve"] == pytest.approx(whole["curve"])
        assert (other["run"], other["checkpoint"]) == ("toy", list(whole["weights"]))
        assert (other["least"], other["mean"]) == (least, mean)


def test_a_process_alone_is_the_main_one_and_agrees_with_itself(monkeypatch):
    monkeypatch.setenv("RANK", "1")  # of a launcher that is not ours
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (get_rank(), get_world_size(), is_main_process()) == (0, 1, True)
    least = torch.tensor(0.1)
    all_reduce_min_(least)
    assert least == torch.tensor(0.1) and reduce_dict({"loss": torch.tensor(2.0)}) == {"loss": 2.0}


def test_a_batch_that_can_not_be_shared_is_refused(monkeypatch):
    monkeypatch.setenv(LAUNCHED, "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert batch_share(64, 1) == 8
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="batch of 10 can't be split over 2 processes, 2 times"):
        batch_share(10, 2)


LATE = """
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pipeline.job
from pipeline.execute import _work
from training import processes


class Job:
    device, outputs, repeatable = "cpu", [], True

    def __init__(self, action, **_): ...

    def finish(self):
        return {}

    def close(self): ...


def run(job):
    if processes.get_rank() == 1:
        time.sleep(2)
        Path("scratch", "late").write_text("")


pipeline.job.Job = Job
stage = SimpleNamespace(gpu=0, processes=True, shares=())
action = SimpleNamespace(stage=stage, manifest=lambda outputs, counts: None)
_work(action, run, None, Path("scratch"), SimpleNamespace(threads=1))
if processes.is_main_process():
    shutil.rmtree("scratch")
"""


def test_who_is_done_waits_for_the_others_before_their_folder_is_removed(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "late.py").write_text(LATE)
    on_two_processes(tmp_path / "late.py")
    assert not (tmp_path / "scratch").exists()


# Groups one after the other, each outlived by what averaged gradients over it.
OUTLIVED = """
import faulthandler
import os

import torch

from training.detector import data_parallel
from training.processes import destroy_process_group, get_rank, init_process_group, wait_for_all

torch.set_num_threads(1)
faulthandler.dump_traceback_later(60, exit=True)
store = torch.distributed.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), 2, get_rank() == 0)
for i in range(40):
    met = torch.distributed.PrefixStore(str(i), store)
    torch.distributed.init_process_group("gloo", store=met, rank=get_rank(), world_size=2)
    init_process_group("cpu")
    network = data_parallel(torch.nn.Linear(9, 9))
    network(torch.rand(2, 9)).sum().backward()
    wait_for_all()
    destroy_process_group()
    del network
store.set(str(get_rank()), "done")
store.wait(["0", "1"])  # before the one who keeps the store ends
"""


def test_a_group_that_gradients_outlive_ends(tmp_path):
    """As after an error, whose traceback holds the network."""
    (tmp_path / "outlived.py").write_text(OUTLIVED)
    on_two_processes(tmp_path / "outlived.py")
