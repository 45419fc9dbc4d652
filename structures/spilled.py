"""Bytes of several names that come in any order, in bounded memory: what is more lies in a file until it is asked for."""

from array import array
from collections.abc import Hashable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

_HELD = 1 << 18  # bytes at least
_OF_NAME = 2048  # bytes, about, that wait of each name before they are written together


class Spilled:
    """What was added of each name, in its order.

    folder: where the file lies, which has no name and goes with this object; None: the system's for such files. Raises OSError
    where the disk is full.
    """

    def __init__(self, folder: Path | None = None):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (closed with this object)
        self._waiting: dict[Hashable, bytearray] = {}
        self._pieces: dict[Hashable, tuple[array, array]] = {}  # of each name where they begin, and their bytes
        self._held = self._end = 0

    def add(self, name: Hashable, content: bytes) -> None:
        if not content:
            return
        self._waiting.setdefault(name, bytearray()).extend(content)
        self._held += len(content)
        if self._held >= max(_HELD, _OF_NAME * len(self._waiting)):
            self._spill()

    def _spill(self) -> None:
        for name, content in self._waiting.items():
            starts, sizes = self._pieces.setdefault(name, (array("Q"), array("Q")))
            starts.append(self._end)
            sizes.append(len(content))
            self._end += len(content)
        content = memoryview(b"".join(self._waiting.values()))
        while content:
            content = content[self._file.write(content) :]
        self._waiting, self._held = {}, 0

    def __getitem__(self, name: Hashable) -> bytearray:
        """All that was added of a name, nothing where it is none."""
        waiting = self._waiting.get(name, b"")
        _, sizes = self._pieces.get(name, ((), ()))
        content = bytearray(sum(sizes) + len(waiting))
        place = 0
        for piece in self._pieces_of(name):
            content[place : place + len(piece)] = piece
            place += len(piece)
        return content

    def parts(self, name: Hashable, size: int) -> Iterator[bytearray]:
        """The same, so many bytes at a time; the last part may be shorter."""
        part = bytearray()
        for piece in self._pieces_of(name):
            part += piece
            while len(part) >= size:
                yield part[:size]
                del part[:size]
        if part:
            yield part

    def _pieces_of(self, name: Hashable) -> Iterator[bytes]:
        for start, size in zip(*self._pieces.get(name, ((), ()))):
            piece = bytearray(size)
            self._read(start, memoryview(piece))
            yield piece
        yield self._waiting.get(name, b"")

    def _read(self, start: int, into: memoryview) -> None:
        self._file.seek(start)
        while into:
            got = self._file.readinto(into)
            if not got:
                raise OSError("a file of what was set aside is shorter than what was written to it")
            into = into[got:]
        self._file.seek(self._end)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
