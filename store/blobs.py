"""The content-addressed store: immutable files named by the sha256 of their bytes, and links to them.

A blob is written beside the others under a draft name, synced, hashed and renamed, so a killed writer leaves no half
blob and two writers of the same bytes do no harm.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structures.errors import UserError

CHUNK = 1 << 20


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


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class Blobs:
    """The store under <data>/store."""

    def __init__(self, data: Path):
        self.root = data / "store"

    def path(self, digest: str, suffix: str) -> Path:
        """Where a blob lies; suffix with its dot."""
        return self.root / digest[:2] / f"{digest}{suffix}"

    @contextmanager
    def draft(self, suffix: str) -> Iterator[Path]:
        """A path to write to; removed if nothing was made of it."""
        folder = self.root / "drafts"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=suffix)
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, draft: Path) -> tuple[str, int]:
        """Move a finished draft into the store; returns its digest and bytes."""
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        digest, size = file_digest(draft), draft.stat().st_size
        path = self.path(digest, draft.suffix)
        if not self.has(digest, draft.suffix, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.chmod(draft, 0o444)
            os.replace(draft, path)
            sync_folder(path.parent)
        return digest, size

    def has(self, digest: str, suffix: str, size: int) -> bool:
        """Whether a blob is there with the right size."""
        try:
            return self.path(digest, suffix).stat().st_size == size
        except FileNotFoundError:
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
            raise UserError(
                f"{path} does not hold what its name says; run `python -m store verify --repair`, then snakemake again"
            )
        return path

    def link(self, digest: str, target: Path) -> None:
        """Point <target> at the blob by a relative link, replacing what is there at once."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = os.path.relpath(self.path(digest, target.suffix), target.parent)
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        draft.unlink(missing_ok=True)
        draft.symlink_to(source)
        os.replace(draft, target)
