"""The operations by which a process changes a folder: counted, so that it can die at each of them, and recorded, so that
a power cut after any of them can be played.

What a power cut leaves, as POSIX has it: of a file what was there when it was last synced, or anything of what was
written since; of a folder the names that it had when it was last synced, and of what was renamed, linked and removed
since any part. (A journal makes less of it possible, not more.)
"""

import builtins
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

CHANGES = {name: (0,) for name in ("open", "fsync", "unlink", "rmdir", "mkdir")}  # and which arguments are paths
CHANGES |= {"symlink": (1,), "replace": (0, 1), "rename": (0, 1), "link": (0, 1)}


def patch(data: Path, before: Callable[..., None], after: Callable[..., None]) -> None:
    """Have every change below a folder by this process announced: before(name, paths) and after(name, paths), with the
    name of the function of os and the absolute paths that it was given."""
    root = os.path.realpath(data)

    def watched(name: str, function: Callable) -> Callable:
        def call(*args, **kwargs):
            paths = [_path(args[place], kwargs.get("dir_fd")) for place in CHANGES[name]]
            if not _changes(name, args, kwargs) or not paths[-1].startswith(root + os.sep):
                return function(*args, **kwargs)
            before(name, paths)
            result = function(*args, **kwargs)
            after(name, paths)
            return result

        return call

    for name in CHANGES:
        setattr(os, name, watched(name, getattr(os, name)))
    builtins.open = io.open = watched("open", io.open)


def _path(arg, folder: int | None) -> str:
    """The absolute path of an argument, which may be a descriptor, or a name in an open folder."""
    if isinstance(arg, int):
        return os.readlink(f"/proc/self/fd/{arg}")  # noqa: PTH115
    above = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()  # noqa: PTH109, PTH115
    return os.path.normpath(os.path.join(above, os.fspath(arg)))  # noqa: PTH118


def _changes(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether an open is for writing; all others change something."""
    if name != "open":
        return True
    mode = args[1] if len(args) > 1 else kwargs.get("mode", "r")
    return bool(mode & (os.O_WRONLY | os.O_RDWR)) if isinstance(mode, int) else not set("wax+").isdisjoint(mode)


def count_changes(data: Path) -> Callable[[], int]:
    """Count the changes from now on; what returns their number."""
    seen = []
    patch(data, lambda *_: None, lambda name, _: seen.append(name))
    return lambda: len(seen)


def die_at(data: Path, change: int, *, done: bool) -> None:
    """Have this process die at a change, counted from 0; done: right after it."""
    seen = []

    def step(*_) -> None:
        seen.append(None)
        if len(seen) > change:
            os._exit(9)

    patch(data, (lambda *_: None) if done else step, step if done else (lambda *_: None))


def record(data: Path) -> list[tuple]:
    """Record the changes from now on, as replay takes them: (name, paths below the folder, content of the file then)."""
    log, root = [], Path(os.path.realpath(data))
    plain_open = io.open

    def after(name: str, paths: list[str]) -> None:
        content = None
        path = Path(paths[-1])
        if name in ("fsync", "replace", "rename", "open") and path.is_file() and not path.is_symlink():
            with plain_open(path, "rb") as file:
                content = file.read()
        if name == "symlink":
            content = path.readlink()
        log.append((name, tuple(os.path.relpath(p, root) for p in paths), content, path.is_dir()))

    patch(data, lambda *_: None, after)
    return log


class _File:
    """synced: what surely lasts, None before it was synced; written: the last content that was seen."""

    def __init__(self, written: bytes | Path = b""):
        self.synced, self.written = None, written

    def left(self, rng: random.Random) -> bytes | Path:
        """What a power cut leaves."""
        if isinstance(self.written, Path) or self.synced == self.written:
            return self.written
        cut = self.written[: rng.randint(0, len(self.written))]
        return rng.choice([self.synced or b"", self.written, cut, cut + bytes(len(self.written) - len(cut))])


class _Folder:
    """synced: the names that surely last; waiting: (name, file, folder or None) of what was changed since."""

    def __init__(self):
        self.synced: dict[str, _File | _Folder] = {}
        self.waiting: list[tuple[str, _File | _Folder | None]] = []

    def now(self) -> dict[str, "_File | _Folder"]:
        return _changed(self.synced, self.waiting)

    def left(self, rng: random.Random, journal: bool) -> dict[str, "_File | _Folder"]:
        """What a power cut leaves: of what waits the first so many (a journal), or any."""
        if journal:
            return _changed(self.synced, self.waiting[: rng.randint(0, len(self.waiting))])
        return _changed(self.synced, [change for change in self.waiting if rng.random() < 0.5])


def _changed(names: dict, changes: list) -> dict:
    names = dict(names)
    for name, content in changes:
        if content is None:
            names.pop(name, None)
        else:
            names[name] = content
    return names


def replay(log: list[tuple], rng: random.Random, before: Path | None, target: Path) -> None:
    """Make a folder of what a power cut leaves after the changes of a log to what another holds, which was all synced; any
    of what was not synced since is lost."""
    root = _read(before) if before else _Folder()

    def find(path: str):
        place = root
        for name in Path(path).parts if path != "." else ():
            place = place.now()[name]
        return place

    for name, paths, content, is_folder in log:
        above, last = find(str(Path(paths[-1]).parent)), Path(paths[-1]).name
        if name == "mkdir":
            above.waiting.append((last, _Folder()))
        elif name == "symlink":
            above.waiting.append((last, _File(content)))
        elif name in ("unlink", "rmdir"):
            above.waiting.append((last, None))
        elif name in ("replace", "rename"):
            source = find(str(Path(paths[0]).parent))
            moved = source.now().get(Path(paths[0]).name, _File())  # written by a library that opens files itself
            if content is not None:
                moved.written = content
            above.waiting.append((last, moved))
            source.waiting.append((Path(paths[0]).name, None))
        elif name == "open":
            if last not in above.now():
                above.waiting.append((last, _File()))
            above.now()[last].written = content or b""
        elif name == "fsync" and is_folder:
            place = find(paths[-1])
            place.synced, place.waiting = place.now(), []
        elif name == "fsync":
            file = find(paths[-1])
            file.synced = file.written = content
    _write(root, rng, rng.random() < 0.5, target)


def _read(path: Path) -> _Folder:
    """A folder of the disk, all of it synced."""
    folder = _Folder()
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            folder.synced[entry.name] = _read(entry)
            continue
        file = folder.synced[entry.name] = _File(entry.readlink() if entry.is_symlink() else entry.read_bytes())
        file.synced = file.written
    return folder


def _write(folder: _Folder, rng: random.Random, journal: bool, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name, content in folder.left(rng, journal).items():
        if isinstance(content, _Folder):
            _write(content, rng, journal, target / name)
            continue
        left = content.left(rng)
        if isinstance(left, Path):
            (target / name).symlink_to(left)
        else:
            (target / name).write_bytes(left)
