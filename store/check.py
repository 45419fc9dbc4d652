"""What of a data folder can't be believed, and its removal, so that one plain `snakemake` makes it again.

A blob that does not hold what its name says takes with it the memos and manifests that list it, those of what was made
of it (it may have been read while it was broken), and the scratch folders of what is being made of it. What was made of
*those* results stays in the memo: their digests name what they hold, right or wrong, and the memo says of them the truth.
Their manifests go, for Snakemake makes nothing again that only something in the middle lacks; the memo brings them back.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from store import locks
from store.blobs import Blobs, file_digest
from store.manifest import Damaged, Manifest, Output, Run, Unsealed, action_path, producer, read_sealed
from structures.errors import UserError
from structures.files import sync_folder
from structures.progress import progress

SECONDS_OF_WORK = 5000  # so many manifests or blobs are: from here on a progress bar is shown


@dataclass
class Findings:
    """What is wrong: blobs that hold something else; the digests that results list and that are not there; damaged
    manifests and memos, with what is wrong; links of runs that lead elsewhere, and files in their places."""

    broken: list[Path] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)
    links: dict[Path, str] = field(default_factory=dict)
    in_the_way: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A line each."""
        return [
            *(f"broken: {path}" for path in self.broken),
            *(f"missing: {what} ({digest[:12]})" for digest, what in self.missing.items()),
            *(f"damaged: {path} {why}" for path, why in self.damaged.items()),
            *(f"link: {path} does not lead to its result" for path in self.links),
            *(f"in the way: {path} is no link to its result; move it elsewhere" for path in self.in_the_way),
        ]


def runs_in(data: Path) -> list[Run]:
    """Every run of a data folder, sorted by name. Raises UserError where a link to runs leads nowhere: nobody knows what
    they use."""
    folders = sorted((data / "runs").glob("*"))
    for place in (data / "runs", *folders):
        if place.is_symlink() and not place.exists():
            raise UserError(f"{place} leads nowhere: is its disk mounted? If its runs are gone, delete the link")
    return [Run(data, folder.name) for folder in folders if folder.is_dir()]


def blob_files(data: Path) -> list[Path]:
    """Every file of the store but drafts, sorted."""
    return sorted(file for file in (data / "store").glob("??/*") if file.is_file() and not file.name.startswith("."))


def scratch_folders(data: Path) -> list[Path]:
    """The scratch folders of actions that are under way, or were killed; each is named by its action's key."""
    return sorted(folder for folder in (data / "scratch").glob("*") if folder.is_dir())


def is_at_work(scratch: Path) -> bool:
    """Whether a process does the action of a scratch folder now. Raises UserError where the file system has no locks."""
    lock = scratch.parent.parent / "locks" / scratch.name
    if not lock.exists():
        return False
    try:
        held = locks.acquire(lock, wait=False)
    except OSError as error:
        raise UserError(f"{lock} can't be locked ({error}): nobody knows what is in use") from error
    if held is None:
        return True
    locks.release(held, remove=lock)
    return False


def memo_files(data: Path) -> list[Path]:
    return sorted((data / "actions").glob("*.json"))


def read_memos(data: Path) -> dict[Path, Manifest]:
    """Every memo that can be believed, by its file."""
    memos = {}
    for file in memo_files(data):
        try:
            memos[file] = read_sealed(file, key=file.stem)
        except (Damaged, FileNotFoundError):
            continue  # never used either
    return memos


def find_broken(files: Iterable[Path]) -> list[Path]:
    """Those of blobs that hold something else than their names say."""
    files = list(files)
    return [
        file
        for file in progress(files, description="verifying", unit="blob", total=len(files))
        if file.exists() and not _is_whole(file)
    ]


def check_results(data: Path, runs: Iterable[Run], *, memos: bool = True, unsealed: bool = True) -> Findings:
    """What is wrong with the manifests and links of runs, and with the memos, as far as it shows without reading blobs.

    unsealed: whether manifests of earlier versions count as damaged.
    """
    found, blobs = Findings(), Blobs(data)
    files = [(run, file) for run in runs for file in run.manifest_files()]
    for run, file in show_progress(files, "checking results", "manifest"):
        try:
            manifest = read_sealed(file, stage=file.parent.name, shard=file.stem)
        except FileNotFoundError:
            continue  # it is just being made again
        except Unsealed as error:
            if unsealed:
                found.damaged[file] = str(error)
            continue
        except Damaged as error:
            found.damaged[file] = str(error)
            continue
        for output in manifest.outputs:
            _check_output(found, blobs, run, output)
    for file in show_progress(memo_files(data), "checking the memo", "result") if memos else ():
        try:
            read_sealed(file, key=file.stem)
        except FileNotFoundError:
            continue
        except Damaged as error:
            found.damaged[file] = str(error)
    return found


def _check_output(found: Findings, blobs: Blobs, run: Run, output: Output) -> None:
    if not blobs.has(output.digest, output.suffix, output.bytes):
        found.missing[output.digest] = f"{run.name}/{output.path}"
        return
    link = run.root / output.path
    try:
        leads_there = str(link.readlink()) == blobs.target(output.digest, link)
    except OSError:  # there is none, or something that is no link
        if link.exists():
            found.in_the_way.append(link)
            return
        leads_there = False
    if not leads_there:
        found.links[link] = output.digest


def show_progress(files: list, description: str, unit: str) -> Iterable:
    """The files, with a progress bar where they take seconds."""
    return progress(files, description=description, unit=unit, total=len(files), quiet=len(files) < SECONDS_OF_WORK)


def put_right(data: Path, links: dict[Path, str]) -> None:
    """Make links of runs lead to their results."""
    blobs = Blobs(data)
    for link, digest in links.items():
        blobs.link(digest, link)


def remove(data: Path, found: Findings) -> list[Path]:
    """Remove what was found broken, and what can't be believed for it; the manifests that went, sorted. To be called by
    who holds the store's lock alone.

    Broken blobs go last: as long as they are there, who is killed in between finds again what was made of them.
    """
    broken = {blob.stem for blob in found.broken}
    doubtful = {
        memo
        for memo, manifest in read_memos(data).items()
        if _is_of(manifest, broken) or not broken.isdisjoint(output.digest for output in manifest.outputs)
    }
    manifests = {
        file: read_sealed(file) for run in runs_in(data) for file in run.manifest_files() if file not in found.damaged
    }
    gone = _in_doubt(manifests, broken | found.missing.keys(), _stages_of(found.damaged))
    put_right(data, found.links)
    for scratch in scratch_folders(data):
        if _is_made_of(scratch, broken) and not is_at_work(
            scratch
        ):  # who is at work sees what it lacks, and removes it
            shutil.rmtree(scratch, ignore_errors=True)
    for files in (gone, doubtful | found.damaged.keys(), found.broken):
        for file in files:
            if file.is_dir() and not file.is_symlink():  # whoever put it there may want what is in it
                file.rename(file.with_name(f"{file.name}.in-the-way"))
            else:
                file.unlink(missing_ok=True)
        for folder in {file.parent for file in files}:
            sync_folder(folder)
    return sorted([*gone, *(file for file in found.damaged if file.parent.parent.name == "manifests")])


def _in_doubt(manifests: dict[Path, Manifest], digests: set[str], stages: set[str]) -> set[Path]:
    """The manifests that list digests among what was made or what it was made of, and all that depend on them.

    stages: those of which a manifest can't be read; what reads of them something that no other manifest lists depends
    on it.
    """
    made = {output.digest for manifest in manifests.values() for output in manifest.outputs}
    gone, waiting = set(), dict(manifests)
    while True:
        doubtful = {
            file
            for file, manifest in waiting.items()
            if _is_of(manifest, digests)
            or any(output.digest in digests for output in manifest.outputs)
            or any(
                producer(row["artifact"])[0] in stages and not made.issuperset(row["digests"])
                for row in manifest.inputs
            )
        }
        if not doubtful:
            return gone
        digests = digests | {output.digest for file in doubtful for output in waiting[file].outputs}
        gone |= doubtful
        waiting = {file: manifest for file, manifest in waiting.items() if file not in doubtful}


def _is_of(manifest: Manifest, digests: set[str]) -> bool:
    return not digests.isdisjoint(manifest.input_digests)


def _is_made_of(scratch: Path, digests: set[str]) -> bool:
    """Whether a scratch folder is of an action that reads one of the digests, or doesn't say."""
    try:
        return _is_of(read_sealed(action_path(scratch)), digests)
    except (Damaged, FileNotFoundError):
        return True


def _stages_of(files: Iterable[Path]) -> set[str]:
    return {file.parent.name for file in files if file.parent.parent.name == "manifests"}


def _is_whole(file: Path) -> bool:
    try:
        return file_digest(file) == file.stem and file.parent.name == file.stem[:2]
    except FileNotFoundError:
        return True  # another removed it meanwhile
    except OSError as error:
        raise UserError(f"{file} can't be read: {error}") from error
