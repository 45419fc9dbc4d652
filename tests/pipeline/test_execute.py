"""One execution of a stage: its memo, and who does it when several ask for it at once."""

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.config import checked
from pipeline.execute import Action, execute
from pipeline.registry import stages
from store.blobs import write_atomically
from store.manifest import Manifest, Output, Run
from structures.errors import UserError

STAGE = replace(stages()["pretrain_backbone"], gpu=0)


def asked(folder, **changes) -> argparse.Namespace:
    """The command line of a job of a run without inputs."""
    settings = {"data": folder, "into": "r", "shard": "all", "threads": 1, "recompute": False, "verify": False}
    return argparse.Namespace(**settings | changes, config=checked({"run": "r", "root": str(folder)}))


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


def test_a_stage_that_failed_leaves_nobody_waiting(tmp_path):
    def fail(job) -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            execute(STAGE, fail, asked(tmp_path))


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
