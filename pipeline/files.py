"""Finding the files that parameters name: a path, a hub's model at a revision, or weights that torchvision knows by name.

A parameter of the schema with the keyword `file` names a file; the keyword says what is usually there and how large. Names
that others give meanings to are names of contents here: a hub's model is one commit of it, torchvision's weights are those of
one sha256.
"""

import hashlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from pipeline.config import section_schema
from pipeline.data_sources import source_of_key
from pipeline.fetched import (
    TORCHVISION,
    check_name,
    files_read,
    hub_model,
    is_hub_model,
    revision_now,
    torchvision_weights,
)
from pipeline.parameters import Parameter, file_parameters, file_path
from pipeline.prefetch import prefetch
from pipeline.stage import Stage
from store.blobs import check_content, file_digest
from structures.addresses import Address
from structures.errors import UserError
from structures.progress import progress
from structures.remote import AddressError

_SUFFIXES = {".pth", ".pt", ".bin", ".safetensors", ".txt", ".json"}  # of a file's path, which a hub's name has none of
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_AHEAD = 64  # files that are read ahead
_PINNED = re.compile(rf"({_HUB_NAME.pattern})@([0-9a-f]{{40}})")


def find_file(value: str, key: str, usual: str = "") -> Path:
    """The file or folder that a parameter's value names: a path; one of TORCHVISION; or a model of the hub as
    OWNER/NAME@REVISION, the 40 hex digits of a commit, as transformers caches it. The last two are fetched where they are
    not there yet and the machine is not offline (HF_HUB_OFFLINE).

    Raises UserError saying what is wanted, its usual name and size, and the config key (or the flag) that points at it; of
    a model of the hub without a revision, which would be another one tomorrow, with the revision that it has now.
    """
    pinned = _PINNED.fullmatch(value)
    if not pinned and is_there(Path(value)):
        return Path(value)
    hint = f"; usually {usual}" if usual else ""
    pointer = key if key.startswith("--") else f"the config key {key}"
    try:
        if value in TORCHVISION:
            return torchvision_weights(value)
        if pinned:
            return hub_model(*pinned.groups())
    except Exception as error:  # whatever the network, the hub or the disk says
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{key}: {value} is neither here nor could it be fetched ({reason}){hint}; fetch it where there is a network "
            f"and point {pointer} at the file"
        ) from error
    name = value.partition("@")[0]
    if _HUB_NAME.fullmatch(name) and Path(value).suffix not in _SUFFIXES:
        raise UserError(
            f"{key}: {value} is not there, and a model of the hub is named with its revision, the 40 hex digits of a "
            f"commit: {name}@{revision_now(name)}{hint}; point {pointer} at that"
        )
    raise UserError(f"{key}: {value} is not there{hint}; point {pointer} at it")


def is_there(path: Path | Address) -> bool:
    """Whether there is a file or folder of that name; of a name that none can have, that there is not. Raises AddressError."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def find_files(stage: Stage, config: dict) -> dict[str, Path | Address]:
    """{key: path} of every file that a stage's parameters name; its own without the stage's name.

    Raises UserError for the first that is not there.
    """
    return {
        parameter.key.removeprefix(f"{stage.name}."): _find(parameter, config)
        for parameter in file_parameters(stage, config)
    }


def _find(parameter: Parameter, config: dict) -> Path | Address:
    path = file_path(parameter, config)
    if path is None:
        return find_file(parameter.value, parameter.key, parameter.rules["file"])
    folder = parameter.rules.get("folder") and isinstance(path, Address)  # of which a server of the web knows nothing
    if not (path.is_dir() if folder else is_there(path)):
        source = source_of_key(parameter.key, config)
        if source and config["sources"] and isinstance(path, Path) and not is_there(Path(source.root)):
            key = f"{source.key}.root"
            raise UserError(f"{key}: {source.root} is not there; point the config key {key} at the source's folder")
        key, usual = parameter.key, parameter.rules["file"]
        raise UserError(f"{key}: {path} is not there; usually {usual}; point the config key {key} at it")
    return path


def missing_files(stages: Iterable[Stage], config: dict) -> list[str]:
    """What the stages will look for and not find, a line each; empty where all is there."""
    faults: dict[str, str] = {}
    for stage in stages:
        for parameter in file_parameters(stage, config):
            if parameter.rules.get("below") == "root" and config["toy"]["train"]:
                continue  # the rule toy makes them
            try:
                path = _find(parameter, config)
            except UserError as error:
                below = parameter.rules.get("below") == "root"
                faults.setdefault(
                    str(error) if below else f"{parameter.value} {parameter.key.rsplit('.', 1)[-1]}", str(error)
                )
                continue
            name = parameter.key.split(".")[0]
            lacks_tokens = isinstance(config[name], dict) and config[name].get("tokens") == ""
            if lacks_tokens and path.suffix in (".pth", ".pt"):
                usual = section_schema(name)["properties"]["tokens"]["file"]
                faults.setdefault("tokens", f"{name}.tokens: {path} holds no word pieces; wanted is {usual}")
    return list(faults.values())


def content_digest(path: Path | Address) -> str:
    """The digest of a file, or of a folder's files by their names and contents; of a hub's model of what is read of it, and
    of its revision; of a folder at an address of the names, sizes and versions (ETags) of its files.

    Raises UserError where a file, or a link in the folder, leads to what is not what its name says: a result of the store,
    torchvision's weights, a file of the hub's cache.
    """
    if isinstance(path, Address):
        return path.digest()
    if path.is_file():
        return _checked_digest(path)
    digest = hashlib.sha256()
    with (
        closing(sqlite3.connect("")) as names,
        ThreadPoolExecutor() as pool,
    ):  # a file of its own, gone when it is closed
        names.execute("CREATE TABLE names (parts BLOB PRIMARY KEY) WITHOUT ROWID")
        if is_hub_model(path):
            above, found = path.parent, (os.fsencode(file.relative_to(path.parent)) for file in files_read(path))
        else:
            above, found = path, (name for name, entry in _walk(os.fsencode(path), b"") if _is_file(entry))
        names.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((name.replace(b"/", b"\0"),) for name in found))
        total = names.execute("SELECT count(*) FROM names").fetchone()[0]
        ordered = (parts.replace(b"\0", b"/") for (parts,) in names.execute("SELECT parts FROM names ORDER BY parts"))
        digests = progress(
            prefetch(lambda name: _named_digest(above, name), ordered, pool=pool, window=_AHEAD),
            description=f"reading {path}",
            unit="file",
            total=total,
            quiet=total < 5000,
        )
        for line in digests:
            digest.update(line)
    return digest.hexdigest()


def _named_digest(above: Path, name: bytes) -> bytes:
    """The name of a file below a folder, and its digest, a line each."""
    file = above / os.fsdecode(name)
    of_file = _checked_digest(file) if file.is_symlink() else file_digest(file)
    return name + f"\n{of_file}\n".encode()


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links in a circle
        return False


def _checked_digest(file: Path) -> str:
    digest = file_digest(file)
    check_content(file, digest)
    check_name(file, digest)
    return digest


def file_state(path: str | Path | Address) -> str:
    """A quick sign of whether a file changed: its size and time; of a folder, those of the files in it, of which no byte is
    read (half a second for 120,000 of them); at an address sizes and versions (a request for each 1,000)."""
    if isinstance(path, Address):
        try:
            return path.quick_state()
        except AddressError:  # which check_files says before anything runs
            return "absent"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            digest = hashlib.sha256()
            for state in sorted(_listing(os.fsencode(path), b"")):
                digest.update(state)
            return digest.hexdigest()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def _listing(folder: bytes, prefix: bytes) -> Iterator[bytes]:
    """Name, size and time of every file in a folder and in those below it, links to folders left out."""
    for name, entry in _walk(folder, prefix):
        try:
            status = entry.stat()
        except OSError:  # a link that leads nowhere
            continue
        yield b"%b\0%d %d\n" % (name, status.st_size, status.st_mtime_ns)


def _walk(folder: bytes, prefix: bytes) -> Iterator[tuple[bytes, os.DirEntry]]:
    """(name below the first folder, entry) of all that is in a folder and in those below it and is no folder itself."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, prefix + entry.name + b"/")
            else:
                yield prefix + entry.name, entry
