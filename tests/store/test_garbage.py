"""gc reads before it locks, and what happens in between is not lost; ls, verify and gc grow as the store does."""

import cProfile
import pstats
import shutil
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks.made_results import make_results
from store import garbage
from store.__main__ import main
from store.check import blob_files, memo_files
from store.garbage import collect_garbage
from tests.faults import chain


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """What the chain makes."""
    data = tmp_path_factory.mktemp("undisturbed")
    chain.do_all(data)
    return chain.results(data)


@contextmanager
def after(work):
    """A lock that is had only when another has done some work."""
    work()
    yield


def test_what_is_linked_again_between_reading_and_locking_stays(tmp_path, undisturbed):
    """No run uses the results when gc reads; a second run takes them from the memo before gc has the lock."""
    chain.do_all(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    assert collect_garbage(tmp_path, after(lambda: chain.do_all(tmp_path, "second"))) == 0
    assert chain.results(tmp_path, "second") == undisturbed and len(memo_files(tmp_path)) == 3
    shutil.rmtree(tmp_path / "runs")
    assert collect_garbage(tmp_path, nullcontext()) > 0
    assert not blob_files(tmp_path) and not memo_files(tmp_path)


def test_what_is_made_anew_between_reading_and_locking_stays(tmp_path, undisturbed):
    chain.do_all(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "actions")

    def again():
        chain.do(tmp_path, "pretrain_backbone")
        chain.do(tmp_path, "embed_text")

    collect_garbage(tmp_path, after(again))
    chain.do_all(tmp_path)
    assert chain.results(tmp_path) == undisturbed


def test_a_run_that_is_gone_before_the_lock_is_had_is_garbage(tmp_path):
    chain.do_all(tmp_path)
    assert collect_garbage(tmp_path, nullcontext()) == 0
    assert collect_garbage(tmp_path, after(lambda: shutil.rmtree(tmp_path / "runs"))) == 0, "it was used when gc looked"
    assert collect_garbage(tmp_path, nullcontext()) > 0


def test_a_draft_that_is_finished_before_the_lock_is_had_is_none(tmp_path):
    (tmp_path / "runs" / "r").mkdir(parents=True)
    draft, left = (tmp_path / "runs" / "r" / f"{name}.draft" for name in ("a", "b"))
    draft.write_text("half")
    left.write_text("half")
    collect_garbage(tmp_path, after(lambda: draft.rename(draft.with_suffix(".json"))))
    assert draft.with_suffix(".json").exists() and not left.exists()


def test_no_result_is_read_while_the_store_is_locked(tmp_path, monkeypatch):
    chain.do_all(tmp_path)
    read = []
    monkeypatch.setattr(garbage, "read_sealed", lambda file, **_: read.append(file))
    monkeypatch.setattr(garbage, "_digests", lambda manifest: ())
    monkeypatch.setattr("store.manifest.read_sealed", lambda file, **_: read.append(file))
    collect_garbage(tmp_path, after(read.clear), dry_run=True)
    assert not read


def calls(data: Path, *words: str) -> int:
    """How many functions `python -m store` calls."""
    sys.argv = ["store", "--data", str(data), *words]
    with cProfile.Profile() as profile:
        main()
    return pstats.Stats(profile).total_calls


def test_four_times_the_results_take_four_times_the_calls(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [])
    counts = {}
    for shards in (125, 500):  # 1,002 and 4,002 blobs
        data = tmp_path / str(shards)
        folder, stages = data / "runs" / "r" / "manifests", ("nouns", "gradcam", "segment")
        manifests = [folder / "ingest" / "all.json"]  # five tables of all shards, and two more files
        manifests += [folder / stage / f"{shard}.json" for stage in stages for shard in range(shards)]
        assert make_results(data, manifests, shards) == 8 * shards + 2
        counts[shards] = {"ls": calls(data, "ls"), "verify": calls(data, "verify")}
        for manifest in manifests[1::2]:
            manifest.unlink()
        counts[shards]["gc"] = calls(data, "gc")
        assert len(blob_files(data)) == 8 * shards + 2 - len(manifests[1::2])
    assert {command: counts[500][command] < 4.2 * few for command, few in counts[125].items()} == {
        "ls": True,
        "verify": True,
        "gc": True,
    }
