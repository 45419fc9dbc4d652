"""Locks on files (flock) that a process holds while it lives: a kill frees them, exec keeps them, its forks have no part.

A fork would share the lock, so that a worker that outlives its killed parent would go on holding it.
"""

import fcntl
import os
from pathlib import Path

_held: set[int] = set()


def acquire(path: Path, wait: bool = True) -> int | None:
    """Lock a file, which is made where it is missing; what release takes, or None where another has it and wait is
    False. Raises OSError where the file can't be opened, or its file system knows no locks."""
    descriptor = _open(path)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    return descriptor


def release(descriptor: int) -> None:
    """Free what acquire locked."""
    _held.discard(descriptor)
    os.close(descriptor)


def _open(path: Path) -> int:
    """A file of anybody's, opened to be locked: for reading alone where it is another user's."""
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except PermissionError:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            except FileExistsError:
                continue  # somebody else has just made it
            os.fchmod(descriptor, 0o644)  # whatever the umask
            return descriptor


def _leave_to_the_parent() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)
