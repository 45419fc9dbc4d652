"""Whether what a run has left to make fits on the disk, as far as that can be told before it starts."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.estimate.amounts import amount
from pipeline.estimate.jobs import PlannedJob
from pipeline.estimate.measured import measured_jobs
from pipeline.estimate.paces import Paces
from pipeline.estimate.plan import Estimate, Machine, estimate
from pipeline.estimate.sizes import count
from pipeline.estimate.work import WORK
from pipeline.parameters import code_fingerprint
from pipeline.registry import stages
from store.manifest import Damaged, read_sealed
from structures.errors import UserError

_SMALL = 1e9  # bytes: less is not worth a word
_MOST_A_PICTURE, _MOST_A_RUN = 1e6, 5e9  # bytes that no run needs
_MARGIN = 1.5  # an estimate is off by less than this, mostly


@dataclass(frozen=True)
class Shortage:
    """A run that seems not to fit: bytes that it is estimated to need, in all and of what is sure (rows of known size, and no
    result that may be remembered), those that are free, and the stage that takes most, with its bytes."""

    needed: float
    sure: float
    free: float
    largest: tuple[str, float]

    @property
    def is_certain(self) -> bool:
        """Whether even two thirds of what is sure are more than what is free."""
        return self.sure / _MARGIN > self.free

    def __str__(self) -> str:
        stage, size = self.largest
        return (
            f"this run is estimated to need {amount(self.needed)} on the disk of data/, where {amount(self.free)} are free "
            f"(most of it {amount(size)} for {stage}; `python -m pipeline estimate` shows all): free some space "
            "(`python -m store gc` removes what no run uses), or make data/ a link to a folder on a larger disk"
        )


def shortage(jobs: Iterable[PlannedJob], configs: dict[str, dict], run: str, data: Path) -> Shortage | None:
    """What is wrong with the space for jobs that are to run; None where they fit, or where nobody knows how many pictures
    the data set has."""
    jobs = [job for job in jobs if job.rule in WORK]
    free = free_space(data)
    ingested = all(job.rule != "ingest" for job in jobs)
    try:
        sizes = count(configs[run], data, ingested=ingested, given={}).sizes
    except UserError:
        return None
    runs = len({job.run for job in jobs})
    if free > _MOST_A_PICTURE * (sizes.train + sizes.val) + _MOST_A_RUN * runs:
        return None
    cores = 1  # speed counts for nothing here
    found = estimate(jobs, configs, sizes, Paces(measured_jobs(data), cores), Machine(cores, 0, "cpu"))
    needed = found.size + found.under_way
    if needed <= max(free, _SMALL):
        return None
    largest = max(found.rows, key=lambda row: row.size)
    return Shortage(needed, _sure(found, configs, data), free, (largest.stage, largest.size))


def free_space(data: Path) -> int:
    """Bytes that are free where the store is, or will be."""
    folder = next(folder for folder in (data / "store", data, Path.cwd()) if folder.is_dir())
    return shutil.disk_usage(folder).free


def _sure(found: Estimate, configs: dict[str, dict], data: Path) -> float:
    """Bytes of the stages whose rows are of known size, and of which the memo knows no result of this code."""
    remembered = set()
    for memo in (data / "actions").glob("*.json"):
        try:
            manifest = read_sealed(memo)
        except (Damaged, OSError):
            continue
        remembered.add((manifest.stage, manifest.fingerprint))
    drawn = sum(row.size for row in found.rows if row.stage == "toy")
    return drawn + sum(
        row.size
        for row in found.rows
        if row.is_sure_of_size
        and (row.stage, code_fingerprint(stages()[row.stage], configs[row.run])) not in remembered
    )
