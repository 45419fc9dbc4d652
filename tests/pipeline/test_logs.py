"""What a stage says of disks that take nothing any more."""

import errno
import logging
from pathlib import Path

import pytest

from pipeline.logs import log, message, start_log


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), r"disk is full .*\(data/x\).*spares checkpoints"),
        (OSError("file write failed"), "disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "data/x"), r"system \(data/x\): a read-only disk.*run again"),
        (RuntimeError("Read-only file system (os error 30)"), "a read-only disk"),
    ],
)
def test_a_full_and_a_read_only_disk_are_one_line(error, said):
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(message(error))
    assert "\n" not in message(error) and "unexpected" not in message(error)


def test_a_log_that_can_not_be_written_is_said_once_and_the_work_goes_on(capsys):
    handlers, level = log.handlers[:], log.level
    start_log(Path("/dev/full"))
    log.info("first")
    log.info("second")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "first" and said[2:] == ["second"]
    assert "the log /dev/full can't be written any more" in said[1]
    logging.getLogger("cap2mask").handlers[:] = handlers
    log.setLevel(level)
