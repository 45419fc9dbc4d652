"""The checkpoint of a training under way: whole or absent, and found out when it is broken."""

import errno
import os
import random
import resource
import signal
from pathlib import Path

import pytest
import torch

from pipeline.logs import message
from structures.errors import UserError
from tests.training.test_loop import fit
from training import checkpoint
from training.checkpoint import read_checkpoint, save_checkpoint

STATE = {
    "module": {"w": torch.arange(3000.0)},
    "optimizer": {"state": {0: {"m": torch.ones(4)}}},
    "step": 7,
    "curve": [],
}


def kept(folder):
    """The checkpoint of a training that was killed at step 27 of 40."""
    with pytest.raises(KeyboardInterrupt):
        fit(folder, stop_at=27)
    return folder / "checkpoint.pt"


def test_what_was_kept_is_read_again(tmp_path):
    save_checkpoint(tmp_path / "deep" / "c.pt", STATE)
    state = read_checkpoint(tmp_path / "deep" / "c.pt")
    assert torch.equal(state["module"]["w"], STATE["module"]["w"]) and state["step"] == 7
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["c.pt"]
    assert read_checkpoint(tmp_path / "none.pt") is None


def test_every_flipped_bit_and_every_cut_is_found_out(tmp_path, caplog):
    file = tmp_path / "c.pt"
    save_checkpoint(file, STATE)
    whole, draw = file.read_bytes(), random.Random(1)
    for _ in range(400):
        broken = bytearray(whole)
        broken[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(broken)
        assert read_checkpoint(file) is None
    for size in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert read_checkpoint(file) is None
    file.write_bytes(whole + b"\0")
    assert read_checkpoint(file) is None
    assert str(file) in caplog.text and "starts anew" in caplog.text


def test_a_training_starts_anew_from_a_broken_checkpoint_to_the_same_weights(tmp_path, caplog):
    whole, curve = fit(tmp_path / "a")
    file = kept(tmp_path / "b")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    resumed, curve_again = fit(tmp_path / "b")
    assert torch.equal(whole, resumed) and curve == curve_again
    assert caplog.text.count("starts anew") == 1


def test_a_file_that_can_not_be_read_is_an_error_and_no_start(tmp_path):
    (tmp_path / "c.pt").mkdir()
    with pytest.raises(UserError, match=r"c\.pt can't be read"):
        read_checkpoint(tmp_path / "c.pt")


@pytest.mark.parametrize("limit", [1, 600, 5000, 11000, 12900])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, limit):
    file = tmp_path / "c.pt"
    save_checkpoint(file, STATE)
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    assert limit < len(before)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        with pytest.raises(OSError) as caught:
            save_checkpoint(file, STATE | {"step": 8})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG and "disk is full" in message(caught.value)
    assert file.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["c.pt"]


def test_file_and_folder_are_on_the_disk_before_it_counts_as_kept(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        checkpoint.os, "fsync", lambda d: (done.append(str(Path(f"/proc/self/fd/{d}").readlink())), sync(d))
    )
    monkeypatch.setattr(checkpoint.os, "replace", lambda a, b: (done.append("rename"), replace(a, b)))
    save_checkpoint(tmp_path / "c.pt", STATE)
    assert done == [str(tmp_path / "c.draft"), "rename", str(tmp_path)]
