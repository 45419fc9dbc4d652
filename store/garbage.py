"""Removing what no run uses: blobs and memos, and what killed stages left behind, while other stages go on.

All that the runs and the memo list is read before the store is locked, which takes as long as there are results. Then, while nobody
else keeps or links anything, only what changed meanwhile is read again, and what is unused still is removed.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from store.blobs import KEPT
from store.check import (
    blob_files,
    is_at_work,
    memo_files,
    runs_in,
    scratch_folders,
    show_progress,
)
from store.manifest import Damaged, Manifest, Run, action_path, memo_path, read_sealed


@dataclass
class _Listed:
    """The digests of the outputs that manifests and memos list, by their files; each is read once, and again when it
    changed."""

    data: Path
    runs: dict[Path, tuple] = field(default_factory=dict)
    memos: dict[Path, tuple] = field(default_factory=dict)

    def read(self) -> None:
        """Read what is new or changed. Raises UserError where a run's manifest is damaged: nobody knows what it uses."""
        files = {file: run for run in runs_in(self.data) for file in run.manifest_files()}
        self.runs = _read(self.runs, files, "reading manifests", lambda file: _of_run(files[file], file))
        self.memos = _read(self.memos, memo_files(self.data), "reading the memo", _of_memo)

    def used(self, *, memos: bool) -> set[str]:
        """The digests that runs use; memos: or that the memo lists."""
        sources = (self.runs, self.memos) if memos else (self.runs,)
        return {digest for source in sources for _, digests in source.values() for digest in digests or ()}


def _read(known: dict, files: Iterable[Path], description: str, read: Callable) -> dict[Path, tuple]:
    """{file: (its state, the digests that it lists)}, of files that are known as they are without reading them."""
    states = {file: _state(file) for file in files}
    changed = [file for file, state in states.items() if known.get(file, (None,))[0] != state]
    digests = {file: read(file) for file in show_progress(changed, description, "file")}
    return {file: (state, digests[file]) if file in digests else known[file] for file, state in states.items()}


def _state(file: Path) -> tuple | None:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _of_run(run: Run, file: Path) -> tuple[str, ...]:
    manifest = run.read_manifest(file.parent.name, file.stem)
    return _digests(manifest) if manifest else ()


def _of_memo(file: Path) -> tuple[str, ...] | None:
    """None of a memo that can't be believed: it is never used either."""
    try:
        return _digests(read_sealed(file, key=file.stem))
    except (Damaged, FileNotFoundError):
        return None


def _digests(manifest: Manifest) -> tuple[str, ...]:
    return tuple(sys.intern(output.digest) for output in manifest.outputs)


def collect_garbage(
    data: Path,
    alone: AbstractContextManager,
    *,
    keep_memo: bool = False,
    checkpoints: bool = False,
    dry_run: bool = False,
) -> int:
    """Remove the blobs that neither a run nor an action under way uses, the memos that list one, and what killed stages left;
    the bytes that this frees.

    alone: holds off who writes to the store, while it is entered. keep_memo: what memos list counts as used. checkpoints:
    whether those go from which a killed training would go on. dry_run: nothing is removed.
    """
    listed = _Listed(data)
    listed.read()
    used = listed.used(memos=keep_memo)
    unused = [file for file in blob_files(data) if file.stem not in used]
    half_written = _half_written(data)
    with alone:
        at_work = [scratch for scratch in scratch_folders(data) if is_at_work(scratch)]
        listed.read()
        used = listed.used(memos=keep_memo).union(*map(_used_by, at_work))
        if not dry_run:
            for memo, (_, digests) in listed.memos.items():  # first, so that none outlives what it lists
                if digests is not None and not used.issuperset(digests):
                    memo.unlink(missing_ok=True)
        unused = [file for file in unused if file.stem not in used]
        left = [file for file in half_written if os.path.lexists(file)] + _left_behind(data, at_work, checkpoints)
        return sum(_remove(path, dry_run) for path in show_progress([*unused, *left], "removing", "file"))


def _used_by(scratch: Path) -> set[str]:
    """The digests that an action under way reads, and those that it has made so far."""
    try:
        inputs = read_sealed(action_path(scratch)).input_digests
    except (Damaged, FileNotFoundError):
        inputs = set()
    kept = scratch / "drafts" / KEPT
    return inputs | set(kept.read_text(encoding="utf-8").split() if kept.exists() else ())


def _half_written(data: Path) -> list[Path]:
    """Manifests, memos and links under names for drafts. Of a process that was killed are those that are there while nobody
    else writes."""
    return [*(data / "actions").glob("*.draft"), *(data / "runs").rglob("*.draft")]


def _left_behind(data: Path, at_work: list[Path], checkpoints: bool) -> list[Path]:
    """What killed stages left: drafts of blobs, rows that were being sorted, and, if asked, checkpoints."""
    left = [data / "store" / "drafts"] if os.path.lexists(data / "store" / "drafts") else []
    for scratch in scratch_folders(data):
        if scratch not in at_work:
            resumable = any(scratch.rglob("checkpoint*")) and not memo_path(data, scratch.name).exists()
            left.append(scratch / "drafts" if resumable and not checkpoints else scratch)
    return left


def _remove(path: Path, dry_run: bool) -> int:
    """Remove a file, or a folder with all that is in it; its bytes."""
    is_folder = path.is_dir() and not path.is_symlink()
    files = [file for file in path.rglob("*") if file.is_file()] if is_folder else [path]
    freed = sum(file.lstat().st_size for file in files if os.path.lexists(file))
    if not dry_run:
        shutil.rmtree(path, ignore_errors=True) if is_folder else path.unlink(missing_ok=True)
    return freed
