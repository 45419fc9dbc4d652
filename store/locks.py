"""Locks on files (flock) that a process holds while it lives: a kill frees them, exec keeps them, its forks have no part.

A fork would share the lock, so that a worker that outlives its killed parent would go on holding it. On NFS Linux makes
a flock a lock of the server's, so that it holds between machines, unless the mount says nolock or local_lock.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("cap2mask")
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held: set[int] = set()


def acquire(path: Path, wait: bool = True, *, shared: bool = False, through_exec: bool = True) -> int | None:
    """Lock a file, which is made where it is missing; what release takes, or None where another has it and wait is
    False.

    shared: several may hold it so, but none of them beside one that holds it alone. through_exec: what this process
    becomes or starts holds it on. Raises OSError where the file can't be opened, or its file system knows no locks.
    """
    while True:
        descriptor = _open(path)
        os.set_inheritable(descriptor, through_exec)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            _held.add(descriptor)
            return descriptor
        os.close(descriptor)  # its holder has removed the file meanwhile: the next one locks another


def release(descriptor: int, remove: Path | None = None) -> None:
    """Free what acquire locked; `remove` its file first, which only who holds it alone may do."""
    if remove is not None:
        remove.unlink(missing_ok=True)
    _held.discard(descriptor)
    os.close(descriptor)


def sign(descriptor: int) -> None:
    """Write into a lock's file who holds it, for those who wait."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except OSError:
        pass  # a full disk, or another user's file: the lock holds without a name


def holder(path: Path) -> str:
    """Who signed a lock, as text."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    except OSError:
        return "another process"


def are_missing(error: OSError) -> bool:
    """Whether an error of acquire says that the file system knows no locks."""
    return error.errno in _NO_LOCKS


@contextmanager
def held(path: Path, *, shared: bool = False, needed: bool = True, signed: bool = False) -> Iterator[None]:
    """Hold a lock, as acquire says, while the block runs. needed: whether a file system without locks is an error; where
    it is not, a warning says that there are none. signed: who waits is told for whom, what this process becomes holds it
    on, and the file is gone in the end; for locks that one holds alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = _acquire_signed(path) if signed else acquire(path, shared=shared, through_exec=False)
    except OSError as error:
        if needed or not are_missing(error):
            raise
        descriptor = None
        log.warning("no lock on %s (%s): let nothing else work on this data folder meanwhile", path, error)
    try:
        yield
    finally:
        if descriptor is not None:
            release(descriptor, remove=path if signed else None)


def _acquire_signed(path: Path) -> int:
    descriptor = acquire(path, wait=False)
    if descriptor is None:
        log.info("waiting for %s, which does the same", holder(path))
        descriptor = acquire(path)
    sign(descriptor)
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
