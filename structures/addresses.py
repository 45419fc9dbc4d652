"""Folders that lie in a bucket or on a server (s3://bucket/prefix, gs://…, https://…), read as paths are.

An Address has those of pathlib's methods that readers of data sets use. A file that is opened is fetched whole into the cache,
or, where it is too large for that, read in parts; a picture is fetched alone, also out of a tar. What the server says of files
holds for the life of the process.
"""

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from structures.cache import Cache
from structures.remote import (
    BLOCK,
    WEB,
    AddressError,
    Parts,
    State,
    Unreachable,
    blocks,
    fetch,
    is_folder,
    listing,
    state,
)

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_IN_PATHS = "/!$&'()*+,;=:@~"  # what stands for itself in the path of a URL, beside letters and digits (RFC 3986)
_listings: dict[str, dict[str, State]] = {}
_states: dict[str, State | None] = {}
_warned: list[Unreachable] = []

log = logging.getLogger("cap2mask")


def open_root(root: str, cache: dict) -> "Path | Address":
    """The folder of a data set: a path, or an address. cache: {folder, bytes}, of the configuration.

    Raises AddressError where an address holds credentials, or more than one address.
    """
    found = _ADDRESS.fullmatch(root)
    if not found and "://" not in root:
        return Path(root)
    protocol, place = (found[1].lower(), found[2].rstrip("/")) if found else ("", "")
    if protocol in ("file", "local"):
        return Path(f"/{place.lstrip('/')}")
    host = place.split("/")[0] if found else root
    if "@" in host or (protocol in ("s3", "s3a") and ":" in host) or "?" in root:
        raise AddressError(
            "root: the address holds a user, a password or a signature, which would be written into logs and "
            "configurations; leave them out, and put credentials into the environment"
        )
    if not place or not _is_inside(PurePosixPath(place), web=True):
        raise AddressError(f"root: {root} is no address of a folder; wanted is one as s3://bucket/prefix")
    return Address(f"{protocol}://{place}", Cache(Path(cache["folder"]), cache["bytes"]))


@dataclass(frozen=True, order=True)
class Address:
    """A file or folder below the address `root`. Methods that ask the server raise AddressError where it can't be reached or
    refuses, or where `below` leads out of root."""

    root: str
    cache: Cache = field(compare=False)
    below: PurePosixPath = field(default_factory=PurePosixPath)

    def __str__(self) -> str:
        below = str(self.below)
        if self._is_web:  # where a # or ? would end the path, and %20 mean another file
            below = quote(below, safe=_IN_PATHS, errors="surrogateescape")
        return self.root if self.below == PurePosixPath() else f"{self.root}/{below}"

    def __truediv__(self, name: "str | PurePosixPath") -> "Address":
        return Address(self.root, self.cache, self.below / name)

    @property
    def name(self) -> str:
        return self.below.name

    @property
    def suffix(self) -> str:
        return self.below.suffix

    def with_suffix(self, suffix: str) -> "Address":
        return Address(self.root, self.cache, self.below.with_suffix(suffix))

    def relative_to(self, other: "Address") -> PurePosixPath:
        return self.below.relative_to(other.below)

    @property
    def is_inside(self) -> bool:
        """Whether it leads nowhere but below its root."""
        return _is_inside(self.below, self._is_web)

    @property
    def _is_web(self) -> bool:
        return self.root.partition("://")[0] in WEB

    # What is there

    def state(self) -> State:
        """Size and version of a file. Raises FileNotFoundError where there is none."""
        text = self._checked()
        for folder, files in list(_listings.items()):
            if text.startswith(f"{folder}/"):
                found = files.get(text[len(folder) + 1 :])
                break
        else:
            if text not in _states:
                _states[text] = self._asked(text)
            found = _states[text]
        if found is None:
            raise FileNotFoundError(2, os.strerror(2), text)
        return found

    def _asked(self, text: str) -> State | None:
        try:
            return state(text)
        except FileNotFoundError:
            return None
        except Unreachable as error:
            known = self.cache.recall(text)
            if known is None and self.cache.recall(f"{text}/") is None:
                raise
            _warn(error)
            return State(known.size, known.version) if known else None

    def forget(self) -> None:
        """Ask the server anew, the next time, whether the file is what it was; one in the cache that is broken is removed."""
        _states.pop(str(self), None)
        for folder in [folder for folder in list(_listings) if str(self).startswith(f"{folder}/")]:
            _listings.pop(folder, None)
        known = self.cache.recall(str(self))
        file = self.cache.find(known.sha256, known.size) if known else None
        if file:
            self.cache.is_whole(file)

    def is_file(self) -> bool:
        try:
            self.state()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        text = self._checked()
        for folder, files in list(_listings.items()):
            if text == folder or text.startswith(f"{folder}/"):
                below = text[len(folder) + 1 :]
                return below not in files and any(name.startswith(f"{below}/" if below else "") for name in files)
        try:
            return is_folder(text)
        except Unreachable:
            if self.cache.recall(f"{text}/") is None:
                raise
            return True

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def files(self) -> dict[str, State]:
        """{path relative to this folder: state} of all files in it, sorted; none where folders can't be listed. Where the server
        can't be reached, those that were there when it last could."""
        text = self._checked()
        if self._is_web:
            return {}
        found = _listings.get(text)
        if found is None:
            try:
                found = listing(text)
                content = json.dumps(found).encode()
                self.cache.keep([content], len(content), f"{text}/", "listing")
            except Unreachable as error:
                known = self.cache.recall(f"{text}/")
                kept = self.cache.read(known.sha256) if known else None
                if kept is None:
                    raise
                _warn(error)
                found = {name: State(*of_file) for name, of_file in json.loads(kept).items()}
            _listings[text] = found
        return found

    def glob(self, pattern: str) -> "Iterator[Address]":
        """The files of a pattern as pathlib's, in order. Raises AddressError for more than a name where nothing can be listed."""
        is_name = not re.search(r"[*?\[]", pattern)
        if self._is_web:
            if not is_name:
                raise AddressError(
                    f"{self}: folders of {self.root} can't be listed; name the files in place of {pattern}"
                )
            yield from [self / pattern] if (self / pattern).is_file() else []
            return
        files = self.files()
        if is_name:
            yield from [self / pattern] if pattern in files else []
            return
        from fsspec.utils import glob_translate

        fits = re.compile(glob_translate(pattern)).match
        yield from (self / name for name in files if fits(name))

    def iterdir(self) -> "Iterator[Address]":
        yield from (self / name for name in dict.fromkeys(name.partition("/")[0] for name in self.files()))

    def digest(self) -> str:
        """Of a file the sha256 of its content; of a folder that of the names, sizes and versions of its files, of which no
        byte is read, or of nothing where it can't be listed."""
        if not self._is_unlisted and self.is_file():
            known = self.cache.recall(str(self))
            if known and known.version == self.state().version:
                return known.sha256
            with self.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        return self.quick_state()

    @property
    def _is_unlisted(self) -> bool:
        """Whether this is a folder of which nothing is known, not even that it is one: a name without a suffix."""
        return self._is_web and not self.suffix

    def quick_state(self) -> str:
        """A sign of whether a file or folder changed, of which no byte is read."""
        if not self._is_unlisted and self.is_file():
            return " ".join(map(str, self.state()))
        digest = hashlib.sha256()
        for name, (size, version) in self.files().items():
            digest.update(f"{name}\0{size} {version}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    # What is in it

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedReader | io.TextIOWrapper:
        """To read, bytes or text. Raises FileNotFoundError."""
        stream = self._opened()
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        with self._opened() as stream:
            return stream.read()

    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes of a file, asked for alone where the file is not in the cache."""
        version = self.state().version
        file = self._cached(version)
        if file:
            try:
                with file.open("rb") as stream:
                    return os.pread(stream.fileno(), size, offset)
            except FileNotFoundError:  # another process made room
                pass
        return fetch(self._checked(), offset, offset + size)

    def content(self, most: int, sha256: str = "") -> bytes:
        """A file's bytes; sha256: those that are wanted, of which it is not looked up first whether they are there, and how
        many. Raises FileNotFoundError, OverflowError where there are more than `most`."""
        text = self._checked()
        if sha256:
            content = fetch(text, 0, most + 1, most=True)
        else:
            size, version = self.state()
            file = self._cached(version) if size <= most else None
            content = file and self.cache.read(file.name)
            if content is None and size <= most:
                content = fetch(text, 0, size)
                self.cache.keep([content], size, text, version)
        if content is None or len(content) > most:
            raise OverflowError(size if content is None else f"more than {most}")
        return content

    def derived(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What is made of a file's content, kept in the cache beside it."""
        version, place = self.state().version, f"{self}#{name}"
        known = self.cache.recall(place)
        made = self.cache.read(known.sha256) if known and known.version == version else None
        if made is None:
            made = make()
            self.cache.keep([made], len(made), place, version)
        return made

    def is_cached(self) -> bool:
        """Whether the whole file is in the cache, as it is now."""
        return self._cached(self.state().version) is not None

    def _cached(self, version: str) -> Path | None:
        known = self.cache.recall(str(self))
        return self.cache.find(known.sha256, known.size) if known and known.version == version else None

    def _opened(self) -> io.BufferedReader:
        text, known = self._checked(), self.state()
        if self.cache.keeps(known.size):
            with self.cache.alone(text):
                file = self._cached(known.version)
                if file is None or not self.cache.is_whole(file):
                    file = self.cache.keep(blocks(text, known), known.size, text, known.version)
            with suppress(FileNotFoundError):  # another process made room
                if file:
                    return file.open("rb")
        return io.BufferedReader(Parts(text, known), BLOCK)

    def _checked(self) -> str:
        if not self.is_inside:
            raise AddressError(f"{self} leads out of {self.root}; keep files inside the data set's folder")
        return str(self)


def _warn(error: Unreachable) -> None:
    if not _warned:
        _warned.append(error)
        log.warning("%s; what is known of before is taken, of other files, too", error)


def _is_inside(path: PurePosixPath, web: bool) -> bool:
    """web: of a server that reads %2e%2e as two dots."""
    parts = PurePosixPath(unquote(str(path))).parts if web else path.parts
    return not path.is_absolute() and ".." not in parts and "\0" not in str(path)
