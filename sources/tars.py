"""Tars read in place: their members, from the headers alone, and one picture, by its offset.

Headers are those of POSIX.1-1988 (ustar), POSIX.1-2001 (pax, which webdataset writes for its times) and GNU's long names.
Nothing is unpacked: a member's name is text, and leads nowhere on the disk.
"""

import hashlib
import io
import os
import stat
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sources.json_files import check_regular
from sources.part import SourceError
from structures.addresses import Address

IN_TAR = ".tar#"  # between a tar and its member, in the path of a picture
PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm")  # extensions of members
_BLOCK = 512
_MOST_HEADER = 1 << 16  # bytes of a long name, or of a pax header
_MOST_TARS = 256  # whose index a process keeps at hand: 29 bytes a picture, with names as img2dataset gives them
_FEW = (
    100  # pictures of a tar whose headers are read as fast as an index's file is opened, or one of its pictures decoded
)
_FILE, _FOLDER = (b"0", b"\0", b"7"), b"5"
_WITHOUT_CONTENT = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # how files of gzip, bzip2, xz and zstd start
_REMEDY = "fetch or pack it again"


class Member(NamedTuple):
    """A member of a tar. name: as it stands there, bytes that are no UTF-8 as surrogates; offset, size: of its content, bytes;
    irregular: what it is, if no regular file."""

    name: str
    offset: int
    size: int
    irregular: str = ""


def members(tar: Path | Address) -> Iterator[Member]:
    """Every member of a tar but folders, in order; contents are passed over.

    Raises SourceError naming the tar and the member where it is compressed, cut short, damaged, has something behind its end,
    or a member is of a kind that can't be read by offset (sparse, of several volumes).
    """
    check_regular(tar)
    try:
        with tar.open("rb", buffering=8 * _BLOCK) as stream:
            yield from _members(tar, stream, stream.seek(0, os.SEEK_END))
    except OSError as error:
        raise SourceError(f"{tar}: {error.strerror or error}; {_REMEDY}") from error


def _members(tar: Path, stream: BinaryIO, end: int) -> Iterator[Member]:
    position, last, said = 0, "the start", {}
    while True:
        stream.seek(position)
        header = stream.read(_BLOCK)
        if position == 0 and header.startswith(_COMPRESSED):
            raise SourceError(
                f"{tar} is compressed, and can't be read in place: unpack it with gunzip (or bunzip2, unxz, unzstd)"
            )
        if len(header) < _BLOCK:
            raise SourceError(f"{tar} is cut short behind {last}: no empty block ends it; {_REMEDY}")
        if not any(header):
            break
        kind, name, size = _parsed(tar, header, last)
        content = position + _BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            if size > _MOST_HEADER:
                raise SourceError(
                    f"{tar}, behind {last}: a header of {size} bytes, more than {_MOST_HEADER}; {_REMEDY}"
                )
            told = _told(tar, kind, stream.read(size), last)
            if kind == b"x" or kind == b"L":
                said |= told
        else:
            name, size, said = said.get("name", name), said.get("size", size), {}
            if kind in _WITHOUT_CONTENT or kind == _FOLDER or name.endswith("/"):
                size = 0
            elif kind not in _FILE:
                what = "sparse" if kind == b"S" else f"of the kind {kind!r}"
                raise SourceError(f"{tar}: {name} is {what}, which can't be read in place; pack the plain files again")
            last = name
            if content + size > end:
                there = max(0, end - content)
                raise SourceError(f"{tar} is cut short in {name}, of whose {size} bytes {there} are there; {_REMEDY}")
            if kind != _FOLDER and not name.endswith("/"):
                yield Member(name, content, size, _WITHOUT_CONTENT.get(kind, ""))
        position = content + -(-size // _BLOCK) * _BLOCK
    while rest := stream.read(1 << 20):
        if any(rest):
            raise SourceError(f"{tar} goes on behind its end, after {last}: put tars together with tar --concatenate")


def _parsed(tar: Path, header: bytes, last: str) -> tuple[bytes, str, int]:
    """(kind, name, size) of a header."""
    try:
        right = _number(header[148:156]) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        size = _number(header[124:136])
    except ValueError:
        right = False
    if not right:
        raise SourceError(f"{tar} has no header of a member behind {last}: it is no tar, or damaged; {_REMEDY}")
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    return header[156:157], name, size


def _number(field: bytes) -> int:
    """Octal digits, or, as GNU writes what is larger, the bytes themselves. Raises ValueError."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if digits and not digits.isdigit():
        raise ValueError("no number")
    return int(digits or b"0", 8)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _told(tar: Path, kind: bytes, content: bytes, last: str) -> dict:
    """What a header tells of the member behind it: {name: …, size: …}, or neither."""
    if kind in (b"L", b"K"):
        return {"name": _text(content)}
    told, rest = {}, content
    try:
        while rest and rest[0]:
            digits = rest[: rest.index(b" ")]
            record, rest = rest[: int(digits)], rest[int(digits) :]
            key, value = record[len(digits) + 1 : -1].split(b"=", 1)
            if not digits.isdigit() or len(record) < int(digits) or not record.endswith(b"\n"):
                raise ValueError("a record of another length than it says")
            if key.startswith(b"GNU.sparse") or (kind == b"g" and key in (b"path", b"size")):
                raise SourceError(
                    f"{tar}, behind {last}: a header with {key.decode()}, which can't be read in place; pack the plain files again"
                )
            if key == b"path":
                told["name"] = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                if not value.isdigit():
                    raise ValueError("no size")
                told["size"] = int(value)
    except ValueError as error:
        raise SourceError(f"{tar}, behind {last}: a pax header that is none ({error}); {_REMEDY}") from error
    return told


def kind_of(name: str) -> str:
    """What stands behind the first dot of a member's own name, in small letters: jpg, txt, json."""
    return name.rpartition("/")[2].partition(".")[2].lower()


@lru_cache(maxsize=_MOST_TARS)
def _index(tar: Path | Address, *state: int | str) -> np.ndarray:
    """name (bytes), offset and size (int64) of each picture of a tar [n], sorted by name. state: of the file, so that one that
    was changed is read anew.

    Headers of many pictures are read once a machine: the index then is a file in the folder for temporary ones, mapped into
    memory, which processes share and the system takes back when it is short of it. Of a tar at an address it is in the cache.
    """
    if isinstance(tar, Address):
        return np.load(io.BytesIO(tar.derived("index", lambda: _as_file(_read_index(tar)))))
    code = hashlib.sha256(repr((os.fspath(tar), state)).encode(errors="surrogateescape")).hexdigest()
    file = Path(tempfile.gettempdir(), f"cap2mask-tars-{os.getuid()}", f"{code}.npy")
    try:
        if _is_ours(file.parent):
            return np.load(file, mmap_mode="r").view(np.ndarray)
    except (OSError, ValueError, EOFError):  # not there, or not whole
        pass
    index = _read_index(tar)
    if len(index) < _FEW:
        return index
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        if _is_ours(file.parent):
            _write(file, _as_file(index))
            return np.load(file, mmap_mode="r").view(np.ndarray)
    except (OSError, ValueError):  # no room
        pass
    return index


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have written what a folder holds."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _as_file(index: np.ndarray) -> bytes:
    with io.BytesIO() as stream:
        np.save(stream, index)
        return stream.getvalue()


def _write(file: Path, content: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)  # else a power cut might leave the name and not the content
        os.replace(draft, file)
    except OSError:
        Path(draft).unlink()
        raise


def _read_index(tar: Path | Address) -> np.ndarray:
    found = [m for m in members(tar) if not m.irregular and kind_of(m.name) in PICTURES]
    names = np.array([_bytes(m.name) for m in found], dtype=np.bytes_)
    index = np.empty(len(found), [("name", names.dtype), ("offset", np.int64), ("size", np.int64)])
    index["name"] = names
    index["offset"], index["size"] = [m.offset for m in found], [m.size for m in found]
    return index[np.argsort(names, kind="stable")]


def read_picture(tar: Path | Address, name: str, most: int) -> bytes:
    """The content of a picture in a tar that is a regular file.

    The headers of a tar are read once, and anew where its size or time changed. Raises KeyError where it holds no
    such picture, OverflowError where that has more than `most` bytes, OSError, and SourceError as `members` does.
    """
    if isinstance(tar, Address):
        return tar.read_at(*_place(_index(tar, *tar.state()), name, most))
    with tar.open("rb", buffering=0) as stream:
        status = os.fstat(stream.fileno())
        index = _index(tar, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        offset, size = _place(index, name, most)
        return os.pread(stream.fileno(), size, offset)


def _place(index: np.ndarray, name: str, most: int) -> tuple[int, int]:
    """(offset, size) of a picture of an index."""
    wanted = _bytes(name)
    place = bisect_left(index["name"], wanted)
    if place == len(index) or index["name"][place] != wanted:
        raise KeyError(name)
    _, offset, size = index[place].item()
    if size > most:
        raise OverflowError(size)
    return offset, size
