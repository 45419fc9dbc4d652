"""The speed of a stage, and what it leaves on the disk: of measured jobs, those of one kind together."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field

from pipeline.estimate.measured import Job
from pipeline.estimate.work import WORK
from pipeline.registry import stages

MEASURED, OF_EMBEDDED_RUN, PUBLISHED = "measured", "shipped, embedded run", "shipped"
_LEAST = 0.1  # seconds of work that a job has besides its start-up
_FAR = 10  # times the units of jobs that were start-up mostly
_MOSTLY_WORK = 4  # times its start-up that a job must work to say much about more units


@dataclass(frozen=True)
class Pace:
    """The speed of a stage: seconds a unit on a device ("cpu", or "cuda" and the GPU's name) and, of what runs on processors,
    `cores` of them; size: bytes a row, or of all its files where they are `fixed` (None: not known); memory: MiB of the largest
    process, and gpu_memory: GiB of the GPU, None where not known. depends: what a unit's time depends on (work.depends).
    origin: one of the above; of: the runs or the machine that it was measured on; as_stage: the stage that was, where it was
    another; reach: units up to which it says much (of jobs that were start-up mostly, few)."""

    stage: str
    seconds: float
    device: str
    cores: int
    depends: dict
    origin: str
    of: str
    size: float | None = None
    memory: float | None = None
    gpu_memory: float | None = None
    as_stage: str = ""
    reach: float = math.inf


@dataclass
class _Jobs:
    """What the jobs of one stage with one pace took together."""

    seconds: float = 0.0
    jobs: int = 0
    units: float = 0.0
    rows: float = 0.0
    size: float = 0.0
    memory: float = 0.0
    runs: set = field(default_factory=set)


def pooled(jobs: list[Job], cores: int, start_up: dict[bool, float], origin: str = MEASURED) -> list[Pace]:
    """The paces of measured jobs: those of one stage, device and parameters count together."""
    together: dict[tuple, _Jobs] = defaultdict(_Jobs)
    told = {}
    for job in jobs:
        key = job.stage, job.device, json.dumps(job.depends, sort_keys=True)
        told[key] = job.depends
        of = together[key]
        of.seconds += max(job.seconds - start_up[bool(stages()[job.stage].gpu)], _LEAST)
        of.jobs += 1
        of.units += job.units
        of.rows += job.rows
        of.size += job.size
        of.memory = max(of.memory, job.memory)
        of.runs.add(job.run)
    paces = []
    for (stage, device, _), of in together.items():
        if not of.units:
            continue
        per = of.jobs if WORK[stage].fixed else of.rows
        paces.append(
            Pace(
                stage=stage,
                seconds=of.seconds / of.units,
                device=device,
                cores=cores,
                depends=told[stage, device, _],
                origin=origin,
                of=", ".join(sorted(of.runs)[:2]) + (" …" if len(of.runs) > 2 else ""),
                size=of.size / per if per else None,
                memory=of.memory or None,
                reach=math.inf
                if of.seconds > _MOSTLY_WORK * of.jobs * start_up[bool(stages()[stage].gpu)]
                else _FAR * of.units / of.jobs,
            )
        )
    return paces
