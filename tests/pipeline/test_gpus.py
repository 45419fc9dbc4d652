"""GPUs for jobs: real processes at once on pretended GPUs, of which no two take the same."""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from pipeline import gpus
from store import locks
from store.fingerprint import ROOT
from structures.errors import UserError

# A job: takes so many GPUs, says which, keeps them for so long, says that it is done. The rest of its words: "fork", a
# child of it outlives it; "exec", it becomes another program.
JOB = """
import logging, os, sys, time
from pipeline import gpus

count, seconds, *words = sys.argv[1:]
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
logging.getLogger("cap2mask").setLevel(logging.INFO)
gpus._SAY_AFTER = 0.2
with gpus.reserve(int(count)):
    print("took", os.environ.get("CUDA_VISIBLE_DEVICES"), time.monotonic(), flush=True)
    if "fork" in words and os.fork() == 0:
        os.close(1), os.close(2)
        time.sleep(60)
        os._exit(0)
    if "exec" in words:
        os.execv(sys.executable, [sys.executable, "-c", f"import time; time.sleep({seconds})"])
    time.sleep(float(seconds))
    print("left", os.environ.get("CUDA_VISIBLE_DEVICES"), time.monotonic(), flush=True)
print("after", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


@pytest.fixture()
def start(tmp_path):
    """A function that starts a job on the GPUs of a list, with a lock folder of the test's own."""
    started = []
    (tmp_path / "no_driver").mkdir()

    def start(count, seconds, *words, visible="0,1,2"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": visible}
        command = [sys.executable, "-c", JOB, str(count), str(seconds), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment | {"PATH": str(tmp_path / "no_driver")}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def took(process) -> list[str]:
    """Waits until a job has its GPUs: which."""
    line = process.stdout.readline().split()
    assert line and line[0] == "took", process.stderr.read()
    return line[1].split(",")


def test_many_jobs_at_once_never_share_a_gpu_and_use_all(start):
    jobs = [start(count, 0.2) for count in (1, 2, 1, 3, 1, 1, 2, 1)]
    spans = []  # (GPU, from, to)
    for job in jobs:
        output, errors = job.communicate(timeout=60)
        assert job.returncode == 0, errors
        (_, names, began), (_, still, ended), (_, after) = (line.split() for line in output.splitlines())
        assert names == still and after == "0,1,2", "what CUDA was to see before is what it sees afterwards"
        spans += [(name, float(began), float(ended)) for name in names.split(",")]
    assert {name for name, _, _ in spans} == {"0", "1", "2"} and len(spans) == 12
    for name in "012":
        in_order = sorted(span for span in spans if span[0] == name)
        assert all(span[2] <= later[1] for span, later in itertools.pairwise(in_order)), in_order


def test_jobs_take_the_first_free_gpu_in_the_order_given(start):
    assert [took(start(1, 30, visible="2,0")) for _ in range(2)] == [["2"], ["0"]]


def waits(process) -> bool:
    """Waits until a job says that it waits, or has its GPUs; whether it is the first."""
    return "waiting for" in process.stderr.readline()


@pytest.mark.parametrize("word", ["fork", "exec"])
def test_a_gpu_is_freed_by_the_death_of_its_job_whatever_became_of_it(start, word):
    """Not by exec, though; and at once, even if a child lives on."""
    holder = start(1, 60, word, visible="0")
    assert took(holder) == ["0"]
    waiting = start(1, 0, visible="0")
    assert waits(waiting)
    holder.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=20)[0].startswith("took 0 ")


def test_a_job_that_needs_several_is_not_passed_by_those_that_need_one(start):
    first, second = start(1, 0, visible="0,1"), start(1, 60, visible="0,1")
    took(first), took(second)
    first.wait()
    both = start(2, 0.1, visible="0,1")
    assert waits(both)
    single = start(1, 0, visible="0,1")
    assert waits(single), "one GPU is free, but another was first"
    second.kill()
    assert took(both) == ["0", "1"]
    left = float(both.communicate(timeout=30)[0].split()[2])
    assert float(single.communicate(timeout=30)[0].split()[2]) >= left


def test_more_gpus_than_there_are_are_refused(start, monkeypatch, tmp_path):
    job = start(4, 0)
    assert "UserError: 4 GPUs are asked for" in job.communicate(timeout=30)[1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(UserError, match=r"2 GPUs are asked for .*, there are 1: 3"), gpus.reserve(2):
        pass


@pytest.fixture()
def driver(tmp_path, monkeypatch):
    """A machine of two GPUs, as nvidia-smi shows them."""
    lines = [f"GPU {i}: NVIDIA H200 (UUID: GPU-{name})" for i, name in enumerate(("aa11-5", "bb22-6"))]
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in (*lines, "  MIG 1g.18gb Device  0: (x)")))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    ("visible", "pool"),
    [
        (None, {"0": "GPU-aa11-5", "1": "GPU-bb22-6"}),
        ("1", {"1": "GPU-bb22-6"}),
        ("GPU-bb, 0", {"GPU-bb": "GPU-bb22-6", "0": "GPU-aa11-5"}),
        ("MIG-9f", {"MIG-9f": "MIG-9f"}),
        ("0,-1,1", {"0": "GPU-aa11-5"}),
        ("", {}),
    ],
)
def test_a_gpu_has_one_name_however_it_is_named(driver, monkeypatch, visible, pool):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.visible_gpus() == pool


def test_without_a_gpu_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpus.reserve(8):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not list(tmp_path.iterdir())


def test_a_lock_file_of_another_user_can_be_locked(tmp_path, monkeypatch):
    (tmp_path / "0").touch()
    really_open = os.open

    def refuse_writing(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(path)
        return really_open(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse_writing)
    lock = locks.acquire(tmp_path / "0")
    assert locks.acquire(tmp_path / "0", wait=False) is None
    locks.release(lock)
    locks.release(locks.acquire(tmp_path / "0", wait=False))
