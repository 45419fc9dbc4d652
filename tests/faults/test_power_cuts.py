"""Power cuts: the changes up to any point played again without what was not synced, in part or at all; then recovery."""

import pickle
import random
import shutil
from pathlib import Path

import pytest

from store import blobs
from tests.faults import chain, disk
from tests.faults.test_crash_points import (
    assert_recovers,
    assert_sound,
    collect,
    in_child,
    repair,
    undisturbed,
    with_a_broken_blob,
    with_waste,
    work,
)

pytestmark = pytest.mark.faults
__all__ = ["undisturbed"]


def recorded(data: Path, function, told: Path) -> None:
    log = disk.record(data)
    function(data)
    told.write_bytes(pickle.dumps(log))


def record_of(data: Path, function, told: Path) -> list[tuple]:
    assert in_child(recorded, data, function, told) == 0
    return pickle.loads(told.read_bytes())


@pytest.mark.parametrize("function", [work, collect, repair])
def test_after_a_power_cut_a_manifest_names_nothing_that_is_lost(campaign, tmp_path, undisturbed, function):
    before = tmp_path / "before"
    {work: lambda _, data: data.mkdir(), collect: with_waste, repair: with_a_broken_blob}[function](undisturbed, before)
    shutil.copytree(before, tmp_path / "done", symlinks=True)
    log = record_of(tmp_path / "done", function, tmp_path / "log")
    wanted = chain.results(undisturbed)

    def check(rng: random.Random) -> None:
        data = tmp_path / "data"
        shutil.rmtree(data, ignore_errors=True)
        disk.replay(log[: rng.randint(0, len(log))], rng, before, data)
        if function is repair:
            repair(data)
        assert_sound(data)
        assert_recovers(data, wanted)

    campaign.run(check, each={work: 3.0, collect: 0.3, repair: 0.5}[function])


def work_without_folder(data: Path) -> None:
    synced = blobs.sync_folder
    blobs.sync_folder = lambda folder: synced(folder) if len(folder.name) > 2 else None
    chain.do_all(data)


def work_without_bytes(data: Path) -> None:
    keep = blobs.Blobs.keep

    def forgetful(self, draft):
        fsync, blobs.os.fsync = blobs.os.fsync, lambda _: None
        try:
            return keep(self, draft)
        finally:
            blobs.os.fsync = fsync

    blobs.Blobs.keep = forgetful
    chain.do_all(data)


@pytest.mark.parametrize("function", [work_without_folder, work_without_bytes])
def test_the_campaign_notices_what_is_not_synced(tmp_path, function):
    """A store that forgets to sync loses what a manifest names, in some power cut of a hundred."""
    log = record_of(tmp_path, function, tmp_path.parent / f"{tmp_path.name}.log")

    def lost(case: int) -> bool:
        data = tmp_path.parent / f"{tmp_path.name}.{case}"
        rng = random.Random(case)
        disk.replay(log[: rng.randint(0, len(log))], rng, None, data)
        try:
            assert_sound(data)
        except AssertionError:
            return True
        finally:
            shutil.rmtree(data)
        return False

    assert any(lost(case) for case in range(100))
