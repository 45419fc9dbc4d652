"""A folder of what was fetched, bounded in bytes: files named by the sha256 of their content, the longest unused go first.

    <first two digits>/<sha256>   contents; when each was used last is its time of access
    drafts/                       what is being written; a lock on each while its writer lives
    lock                          held while room is made; holds how many bytes there are
    locks/                        one of each address while it is fetched whole
    known.sqlite                  {address: version, size, sha256}

Processes of one machine share it. One that is killed leaves a draft, which the next to make room removes, and a count that is
too high until then. What can't be kept, because the disk is full or must not be written, is not kept, with a warning.
"""

import fcntl
import hashlib
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

LARGEST = 4  # a file of more than this part of the bound is not kept
_LEFT = 0.9  # of the bound is what is left when room is made
_SYNCED = 1 << 23  # bytes of a file that is not read whole, and so not checked, whenever it is used
_BLOCK = 1 << 20

log = logging.getLogger("cap2mask")


class Known(NamedTuple):
    """What was fetched of an address, last."""

    version: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Cache:
    """folder: may be missing yet; most: bytes that it may hold, 0 for none."""

    folder: Path
    most: int

    def keeps(self, size: int) -> bool:
        """Whether a file of so many bytes is kept."""
        return size * LARGEST <= self.most

    def find(self, sha256: str, size: int) -> Path | None:
        """The file of a content, from now on the one used last; None where it isn't there."""
        file = self._file(sha256)
        try:
            status = file.stat()
            if status.st_size != size:
                return None
            _touch(file, status)
        except OSError:
            return None
        return file

    def read(self, sha256: str) -> bytes | None:
        """A content, None where it isn't there; a file that is not what its name says is removed."""
        file = self._file(sha256)
        try:
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                _touch(file, file.stat())
                return content
            file.unlink()
        except OSError:
            pass
        return None

    def is_whole(self, file: Path) -> bool:
        """Whether a file that `find` gave is what its name says; else it is removed. Looked at once a process."""
        try:
            status = file.stat()
            if not _is_whole(file, status.st_ino, status.st_mtime_ns):
                file.unlink(missing_ok=True)
                return False
        except OSError:
            return False
        return True

    def recall(self, address: str) -> Known | None:
        """What is known of an address, whether its content is still here or not."""
        row = self._query("SELECT version, size, sha256 FROM known WHERE address = ?", (address,))
        return Known(*row) if row else None

    def keep(self, blocks: Iterable[bytes], size: int, address: str = "", version: str = "") -> Path | None:
        """Write a content of `size` bytes, which comes in blocks, and what it is of; its file. None where it can't be kept.

        What blocks raises is raised. Raises ValueError where they hold another number of bytes.
        """
        draft = self._draft(size) if self.keeps(size) else None
        if draft is None:
            return None
        digest, written, file = hashlib.sha256(), 0, None
        try:
            for block in blocks:
                digest.update(block)
                written += len(block)
                try:
                    draft.write(block)
                except OSError as error:
                    _warn(self.folder, error)
                    return None
            if written != size:
                raise ValueError(f"{written} bytes, not {size}")
            file = self._published(draft, digest.hexdigest(), size)
        finally:
            if file is None:
                Path(draft.name).unlink(missing_ok=True)
                self._uncount(size)
            draft.close()
        if address and file is not None:
            self._query("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", (address, version, size, file.name))
        return file

    @contextmanager
    def alone(self, address: str) -> Iterator[None]:
        """Only one process at a time fetches the whole of an address; who waited finds it here."""
        with ExitStack() as held:
            try:
                folder = self.folder / "locks"
                folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((folder / hashlib.sha256(address.encode()).hexdigest()[:32]).open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                _warn(self.folder, error)
            yield

    def _file(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def _published(self, draft: BinaryIO, sha256: str, size: int) -> Path | None:
        file = self._file(sha256)
        try:
            draft.flush()
            if size >= _SYNCED:
                os.fsync(draft.fileno())
            file.parent.mkdir(exist_ok=True)
            again = file.exists()
            os.replace(draft.name, file)
        except OSError as error:
            _warn(self.folder, error)
            return None
        if again:
            self._uncount(size)
        return file

    def _draft(self, size: int) -> BinaryIO | None:
        """A file of so many bytes to write into, for which there is room; counted already."""
        try:
            with self._counting() as count:
                total = count[0]
                if total is None or total + size > self.most:
                    total = self._make_room(size)
                if total + size > self.most:  # others are writing as much
                    return None
                count[0] = total + size
                draft = (self.folder / "drafts" / uuid.uuid4().hex).open("xb")
                fcntl.flock(draft, fcntl.LOCK_EX)
                os.truncate(draft.fileno(), size)
                return draft
        except OSError as error:
            _warn(self.folder, error)
            return None

    def _uncount(self, size: int) -> None:
        try:
            with self._counting() as count:
                count[0] = None if count[0] is None else max(0, count[0] - size)
        except OSError:
            pass

    @contextmanager
    def _counting(self) -> Iterator[list[int | None]]:
        """[bytes in the folder], alone; None where nobody knows; what it is changed to is kept."""
        (self.folder / "drafts").mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            text = lock.read(32)
            count = [int(text) if text.isdigit() else None]
            yield count
            lock.truncate(0)
            lock.write(b"" if count[0] is None else str(count[0]).encode())

    def _make_room(self, size: int) -> int:
        """Remove drafts whose writer is gone, and the longest unused contents until there is room; the bytes that are left."""
        total = sum(_held_draft(draft) for draft in (self.folder / "drafts").iterdir())
        found = []
        for entry in (entry for folder in self.folder.glob("[0-9a-f][0-9a-f]") for entry in os.scandir(folder)):
            status = entry.stat()
            total += status.st_size
            found.append((status.st_atime_ns, status.st_size, entry.path))
        removed = []
        if total + size > self.most:
            for _, bytes_of_file, path in sorted(found):
                if total + size <= _LEFT * self.most:
                    break
                Path(path).unlink(missing_ok=True)
                removed.append((Path(path).name,))
                total -= bytes_of_file
        for sha256 in removed:
            self._query("DELETE FROM known WHERE sha256 = ?", sha256)
        return total

    def _query(self, statement: str, values: tuple) -> tuple | None:
        """The first row; None where the table can't be read, which is made anew then."""
        if not self.most:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.folder / "known.sqlite", timeout=60, isolation_level=None)) as table:
                table.execute("PRAGMA synchronous = OFF")
                table.execute(
                    "CREATE TABLE IF NOT EXISTS known (address TEXT PRIMARY KEY, version TEXT, size INTEGER, sha256 TEXT)"
                )
                return table.execute(statement, values).fetchone()
        except sqlite3.OperationalError as error:  # locked, full, not to be written
            _warn(self.folder, error)
        except sqlite3.DatabaseError:
            (self.folder / "known.sqlite").unlink(missing_ok=True)
        except OSError as error:
            _warn(self.folder, error)
        return None


def _touch(file: Path, status: os.stat_result) -> None:
    with suppress(OSError):  # of a folder of another's, that may be read alone
        os.utime(file, ns=(time.time_ns(), status.st_mtime_ns))


@cache
def _is_whole(file: Path, inode: int, changed: int) -> bool:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.name


def _held_draft(draft: Path) -> int:
    """The bytes of a draft; one whose writer is gone is removed, and has none."""
    try:
        with draft.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return os.fstat(stream.fileno()).st_size
            draft.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return 0


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def _warn(folder: Path, error: Exception) -> None:
    reason = getattr(error, "strerror", None) or error
    _warn_once(f"the cache {folder} can't be written ({reason}): what is fetched is not kept; see the config key cache")
