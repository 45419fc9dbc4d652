"""One execution of a stage: its memo, and who does it when several ask for it at once."""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from pipeline.config import checked
from pipeline.execute import Action, execute
from pipeline.registry import stages
from store import locks
from store.blobs import write_atomically
from store.manifest import Manifest, Output, Run
from structures.errors import UserError
from tests.faults import chain
from tests.faults import test_crash_points as crash_points
from training import processes

STAGE = replace(stages()["pretrain_backbone"], gpu=0)


def asked(folder, **changes) -> argparse.Namespace:
    """The command line of a job of a run without inputs, and what of the configuration is not its default."""
    settings = {"data": folder, "into": "r", "shard": "all", "threads": 1, "recompute": False, "verify": False}
    configured = {key: value for key, value in changes.items() if key not in settings and key != "gpus"}
    given = {key: value for key, value in changes.items() if key not in configured}
    return argparse.Namespace(**settings | given, config=checked({"run": "r", "root": str(folder), **configured}))


def test_who_asks_for_what_another_is_doing_waits_and_takes_its_result(tmp_path):
    at_work, calls = threading.Lock(), []

    def run(job) -> None:
        assert at_work.acquire(blocking=False), "two do the same action at once"
        calls.append(job.scratch)
        time.sleep(0.3)
        with job.file("pretrain_backbone/all.txt") as draft:
            draft.write_text("done")
        at_work.release()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda run_name: execute(STAGE, run, asked(tmp_path, into=run_name)), "abc"))
    assert len(calls) == 1
    digests = {output.digest for name in "abc" for output in Run(tmp_path, name).manifests()[0].outputs}
    assert len(digests) == 1 and not list((tmp_path / "scratch").iterdir())


def in_fork(function, *args) -> int:
    """Call a function in a fork of this process; its exit status."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


def again(data) -> None:
    chain.do(data, "pseudo_labels", recompute=True)


def test_a_stage_that_dies_at_any_change_loses_nothing_and_can_be_started_again(tmp_path):
    """Before or after each change in turn, and started again or from memory; of whole runs, gc and repair every death in the
    campaign of faults."""
    whole, counted, told = tmp_path / "whole", tmp_path / "counted", tmp_path / "told"
    chain.do_all(whole)
    wanted = chain.results(whole)
    shutil.copytree(whole, counted, symlinks=True)
    assert in_fork(crash_points.counted, counted, again, told) == 0
    changes = int(told.read_text())
    assert changes > 10
    for change in range(changes):
        data = tmp_path / str(change)
        shutil.copytree(whole, data, symlinks=True)
        assert in_fork(crash_points.dying, data, again, change, change % 4 > 1) == 9
        crash_points.assert_sound(data)
        assert chain.results(data) == wanted, "what was there stands until the same is there anew"
        chain.do(data, "pseudo_labels", recompute=change % 2 == 1)
        assert chain.results(data) == wanted


def test_a_stage_that_failed_leaves_nobody_waiting(tmp_path):
    def fail(job) -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            execute(STAGE, fail, asked(tmp_path))


@pytest.fixture()
def two_gpus(tmp_path, monkeypatch):
    """Two pretended GPUs, and the folder of their locks; afterwards torch is as it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    tf32, threads = torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield tmp_path / "cap2mask-gpus"
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32, False
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_a_job_has_a_gpu_of_its_own_and_float32_with_all_its_digits(tmp_path, two_gpus):
    seen = []

    def run(job) -> None:
        exact = not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
        seen.append((os.environ["CUDA_VISIBLE_DEVICES"], exact, torch.are_deterministic_algorithms_enabled()))
        with job.file("pretrain_backbone/all.txt") as draft:
            draft.write_text("done")

    with_network = replace(STAGE, gpu=1)
    execute(with_network, run, asked(tmp_path, gpus=1))
    taken = [locks.acquire(two_gpus / gpu) for gpu in "01"]
    execute(with_network, run, asked(tmp_path, gpus=1, into="other"))  # what is remembered waits for nothing
    execute(replace(with_network, shares=("device",)), run, asked(tmp_path, gpus=1, device="cpu", recompute=True))
    assert seen == [("0", True, False), ("0,1", True, False)]
    locks.release(taken[0])
    training = {"training": {"deterministic": True}, "recompute": True}
    execute(replace(with_network, shares=("training",)), run, asked(tmp_path, gpus=1, **training))
    assert seen[2:] == [("0", True, True)] and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    locks.release(taken[1])


def test_processes_start_for_what_is_not_remembered_alone_and_for_what_they_can_share(tmp_path, two_gpus, monkeypatch):
    started = []
    monkeypatch.setattr(processes, "launch", lambda count: started.append((count, os.environ["CUDA_VISIBLE_DEVICES"])))

    def run(job) -> None:
        with job.file("train_detector/all.txt") as draft:
            draft.write_text("done")

    stage = replace(stages()["train_detector"], reads=())
    with pytest.raises(UserError, match="a batch of 7 can't be split over 2 processes"):
        execute(stage, run, asked(tmp_path, gpus=2, train_detector={"batch": 7, "weights": ""}))
    for _ in range(2):
        execute(stage, run, asked(tmp_path, gpus=2, train_detector={"batch": 8, "weights": ""}))
    assert started == [(2, "0,1")]


def test_detectors_that_find_nothing_have_scores_of_their_own():
    def key(*detectors):
        nothing = [Output(path=f"detections/{name}.parquet", digest="d", bytes=1, rows=0) for name in detectors]
        return Action(stages()["evaluate"], {}, "all", {}, None, "code", {"detections": nothing}, {}).key

    assert key("train_detector") != key("train_teacher")
    assert key("train_detector", "train_teacher") != key("train_detector", "train_student")


def test_shards_are_known_by_their_content_alone():
    def key(shard):
        images = [Output(path=f"images/{shard}.parquet", digest="d", bytes=1, rows=0)]
        return Action(stages()["selective_search"], {}, shard, {}, None, "code", {"images": images}, {}).key

    assert key("0") == key("1")


def test_a_part_of_a_runs_shards_is_not_taken_for_all(tmp_path):
    """The configuration says one shard, the run has two."""
    run = Run(tmp_path, "r")
    inputs = {
        "images": ("ingest", "all", "01"),
        "categories": ("categories", "all", ()),
        "pseudo_masks": ("segment", "0", "0"),
    }
    for artifact, (stage, shard, files) in inputs.items():
        outputs = [Output(path=f"{artifact}/{name}.parquet", digest=artifact + name, bytes=1) for name in files]
        manifest = Manifest(stage=stage, shard=shard, key="k", fingerprint="f", seed=None, params={}, outputs=outputs)
        write_atomically(run.manifest_path(stage, shard), manifest.to_json())
    with pytest.raises(UserError, match="images are in 2 shards, the configuration says 1"):
        execute(stages()["pseudo_labels"], None, asked(tmp_path))
