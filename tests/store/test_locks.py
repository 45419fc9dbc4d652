"""Locks: alone or shared, on the file that lies there, and freed by a kill."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from store import locks


def test_several_share_a_lock_that_one_alone_waits_for(tmp_path):
    first, second = (locks.acquire(tmp_path / "l", shared=True) for _ in range(2))
    assert locks.acquire(tmp_path / "l", wait=False) is None
    locks.release(first)
    assert locks.acquire(tmp_path / "l", wait=False) is None
    locks.release(second)
    alone = locks.acquire(tmp_path / "l", wait=False)
    assert locks.acquire(tmp_path / "l", wait=False, shared=True) is None
    locks.release(alone)


def test_who_waited_for_a_file_that_was_removed_shuts_out_who_finds_a_new_one(tmp_path):
    path, waited = tmp_path / "l", []
    first = locks.acquire(path)
    waiter = threading.Thread(target=lambda: waited.append(locks.acquire(path)))
    waiter.start()
    while not any("FLOCK" in line and "->" in line for line in Path("/proc/locks").read_text().splitlines()):
        pass  # until it waits
    locks.release(first, remove=path)
    waiter.join()
    assert locks.acquire(path, wait=False) is None
    locks.release(waited[0], remove=path)
    assert not path.exists()


def test_a_kill_frees_a_lock_and_its_file_says_who_held_it(tmp_path):
    code = "import sys, time; from pathlib import Path; from store import locks; path = Path(sys.argv[1]); "
    code += "locks.sign(locks.acquire(path)); print('locked', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "l")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    assert locks.acquire(tmp_path / "l", wait=False) is None
    assert locks.holder(tmp_path / "l").startswith(f"process {process.pid} on ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    locks.release(locks.acquire(tmp_path / "l", wait=False))


def test_a_file_system_without_locks_is_said_and_an_error_only_where_they_are_needed(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with locks.held(tmp_path / "l", needed=False):
        assert "let nothing else work on this data folder" in caplog.text
    with pytest.raises(OSError, match="No locks"), locks.held(tmp_path / "l"):
        pass
