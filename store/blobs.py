"""The content-addressed store: immutable files named by the sha256 of their bytes, and links to them.

A blob is written in the same file system under a draft name, synced, hashed and renamed, and its folder synced, so a
killed writer or a power cut leaves no half blob and two writers of the same bytes do no harm. A blob that is there
already is replaced: its bytes may not be what its name says any more.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store import locks
from structures.errors import UserError
from structures.files import sync_folder

CHUNK = 1 << 20
_BLOB = re.compile(r"/([0-9a-f]{2})/\1[0-9a-f]{62}\.\w+$")
_BROKEN = "does not hold what its name says; run `python -m store verify --repair`, then snakemake again"
KEPT = "kept"  # in a folder of drafts: the digests of the blobs that they became, a line each


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value) -> str:
    """JSON text that equal values share: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def is_named_by_content(path: Path) -> bool:
    """Whether a path is that of a blob, or a link to one."""
    return bool(_BLOB.search(path.resolve().as_posix()))


def check_content(path: Path, digest: str | None = None) -> None:
    """Raises UserError where a path is that of a blob, or a link to one, which holds other bytes than its name says.
    digest: its sha256, where it is known."""
    if is_named_by_content(path) and (digest or file_digest(path)) != path.resolve().stem:
        raise UserError(f"{path} {_BROKEN}")


def make_folder(folder: Path) -> Path:
    """Make a folder, and those above it, so that they last through a power cut; the folder."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    make_folder(path.parent)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class Blobs:
    """The store under <data>/store. scratch: the folder of the action that writes, for what is not finished."""

    def __init__(self, data: Path, scratch: Path | None = None):
        self.root = data / "store"
        self.lock = data / "locks" / "store"
        self._drafts = (scratch or self.root) / "drafts"
        self._kept = scratch and self._drafts / KEPT
        self._ways: dict[Path, str] = {}  # from folders of links to the data folder

    def path(self, digest: str, suffix: str) -> Path:
        """Where a blob lies; suffix with its dot."""
        return self.root / digest[:2] / f"{digest}{suffix}"

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Hold off whoever removes blobs: what is kept, found or linked in this block is there until its end. Where the
        file system has no locks nobody else may remove anything meanwhile."""
        with locks.held(self.lock, shared=True, needed=False):
            yield

    @contextmanager
    def draft(self, suffix: str) -> Iterator[Path]:
        """A path to write to; removed if nothing was made of it."""
        self._drafts.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._drafts, suffix=suffix)
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, draft: Path) -> tuple[str, int]:
        """Move a finished draft into the store; returns its digest and bytes."""
        os.chmod(draft, 0o444)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        digest, size = file_digest(draft), draft.stat().st_size
        path = self.path(digest, draft.suffix)
        with self.sharing():
            if self._kept:
                with self._kept.open("a", encoding="utf-8") as kept:
                    kept.write(f"{digest}\n")
            make_folder(path.parent)
            try:
                os.replace(draft, path)
            except IsADirectoryError as error:
                raise UserError(
                    f"{path} is a folder, in the way of a result: move it elsewhere and run again"
                ) from error
        sync_folder(path.parent)
        return digest, size

    def has(self, digest: str, suffix: str, size: int) -> bool:
        """Whether a blob is there with the right size."""
        try:
            return self.path(digest, suffix).stat().st_size == size
        except (FileNotFoundError, NotADirectoryError):
            return False

    def check(self, digest: str, suffix: str, size: int, *, whole: bool) -> Path:
        """The path of a blob, its size verified, and its digest if `whole`.

        Raises UserError naming the file where it is missing or not what its name says.
        """
        path = self.path(digest, suffix)
        if not self.has(digest, suffix, size):
            raise UserError(
                f"{path} is missing or cut short; run `python -m store verify --repair`, then snakemake again"
            )
        if whole and file_digest(path) != digest:
            raise UserError(f"{path} {_BROKEN}")
        return path

    def link(self, digest: str, target: Path) -> None:
        """Point <target> at the blob by a relative link, replacing what is there at once. Raises UserError where a folder
        is in the way."""
        make_folder(target.parent)
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        draft.unlink(missing_ok=True)
        draft.symlink_to(self.target(digest, target))
        try:
            os.replace(draft, target)
        except IsADirectoryError as error:
            draft.unlink()
            raise UserError(f"{target} is a folder, in the way of a result: move it elsewhere and run again") from error

    def target(self, digest: str, link: Path) -> str:
        """What the link of a blob says. Folders on the way to it may be links themselves, to another disk."""
        folder = link.parent
        if folder not in self._ways:
            self._ways[folder] = os.path.relpath(self.root.parent.resolve(), folder.resolve())
        path = self.path(digest, link.suffix).relative_to(self.root.parent)
        return f"{self._ways[folder]}/{path}"
