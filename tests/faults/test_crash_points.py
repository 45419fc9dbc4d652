"""Death at each open, fsync, rename, link and unlink of the store: whatever is started again ends in the same bytes."""

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from store.__main__ import main
from store.blobs import Blobs
from store.check import blob_files, check_results, find_broken, put_right, runs_in
from tests.conftest import SERVER
from tests.faults import chain, disk

pytestmark = pytest.mark.faults


def store(data: Path, *words: str) -> None:
    """python -m store, silently; what it refuses is left at that."""
    sys.argv = ["store", "--data", str(data), *words]
    with contextlib.redirect_stdout(None), contextlib.suppress(SystemExit):
        main()


def work(data: Path) -> None:
    """Make everything; make the last result again, otherwise; and as it was, from memory."""
    chain.do_all(data)
    chain.do(data, "pseudo_labels", recompute=True)
    chain.do(data, "embed_text")


def collect(data: Path) -> None:
    store(data, "gc")


def repair(data: Path) -> None:
    store(data, "verify", "--repair")


def in_child(function: Callable, *args) -> int:
    """Call a function in a process of its own; its exit status."""
    process = SERVER.Process(target=_quietly, args=(function, *args))
    process.start()
    process.join()
    return process.exitcode


def _quietly(function: Callable, *args) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    function(*args)


def dying(data: Path, function: Callable, change: int, done: bool) -> None:
    disk.die_at(data, change, done=done)
    function(data)


def counted(data: Path, function: Callable, told: Path) -> None:
    changes = disk.count_changes(data)
    function(data)
    told.write_text(str(changes()))


def assert_sound(data: Path) -> None:
    """What a manifest names is there and whole, also right after a crash; links may be behind."""
    assert not find_broken(blob_files(data))
    found = check_results(data, runs_in(data))
    assert not (found.missing or found.damaged or found.in_the_way), found.lines()


def assert_recovers(data: Path, wanted: dict[str, bytes]) -> None:
    """What snakemake does when it is started again ends in the bytes of an undisturbed run, and gc leaves nothing else."""
    put_right(data, check_results(data, runs_in(data)).links)
    chain.do_all(data)
    assert chain.results(data) == wanted
    for name in chain.STAGES:  # a memo that was kept is believed: it must be right
        chain.do(data, name)
    assert chain.results(data) == wanted
    store(data, "gc", "--checkpoints")
    assert chain.results(data) == wanted
    listed = {Blobs(data).path(o.digest, o.suffix) for run in runs_in(data) for m in run.manifests() for o in m.outputs}
    assert set(blob_files(data)) == listed
    assert not list(data.rglob("*.draft")) and not list((data / "scratch").glob("*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("undisturbed")
    assert in_child(work, data) == 0
    return data


def with_waste(undisturbed: Path, data: Path) -> None:
    """A data folder with results that no run lists."""
    shutil.copytree(undisturbed, data, symlinks=True)
    (data / "scratch" / ("1" * 64) / "drafts").mkdir(parents=True)
    (data / "scratch" / ("1" * 64) / "drafts" / "x.json").write_text("half")
    for name in ("manifests/pseudo_labels/all.json", "pseudo_labels/all.json"):
        (data / "runs" / "r" / name).unlink()


def with_a_broken_blob(undisturbed: Path, data: Path) -> None:
    """A data folder in which the blob of a checkpoint is broken, and what was made of that."""
    shutil.copytree(undisturbed, data, symlinks=True)
    blob = (data / "runs/r/pretrain_backbone/all.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)


@pytest.mark.parametrize("function", [work, collect, repair])
def test_whoever_dies_at_any_change_loses_nothing(campaign, tmp_path, undisturbed, function):
    prepare = {work: lambda _, data: data.mkdir(), collect: with_waste, repair: with_a_broken_blob}[function]
    wanted = chain.results(undisturbed)
    prepare(undisturbed, tmp_path / "counted")
    assert in_child(counted, tmp_path / "counted", function, tmp_path / "told") == 0
    changes = int((tmp_path / "told").read_text())
    assert changes > {work: 60, collect: 3, repair: 5}[function]

    def check(rng: random.Random) -> None:
        data = tmp_path / "data"
        shutil.rmtree(data, ignore_errors=True)
        prepare(undisturbed, data)
        change, done = rng.randrange(changes), rng.random() < 0.5
        code = in_child(dying, data, function, change, done)
        assert code == 9, f"it lived, or failed: {code}"
        if function is repair:
            repair(data)
        assert_sound(data)
        assert_recovers(data, wanted)

    campaign.run(check, each={work: 1.0, collect: 0.3, repair: 0.5}[function])
