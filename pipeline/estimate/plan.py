"""What a run will take: the seconds, GPU seconds, bytes and memory of its jobs, of the data set's sizes and the stages' paces."""

from dataclasses import dataclass, replace

from pipeline.estimate.jobs import PlannedJob
from pipeline.estimate.pace import Pace
from pipeline.estimate.paces import Paces
from pipeline.estimate.schedule import Task, makespan
from pipeline.estimate.work import WORK, Settings, Sizes, depends, flat
from pipeline.registry import detectors, stages

_OTHER_SECONDS = {"toy": 0.02, "overview": 2.0, "tables": 5.0}  # of a unit of the rules that are no stages
_SCENE_BYTES = 12_000  # of a drawn scene, with its annotations
_CHECKPOINTS = (
    3  # a training under way keeps its weights and the optimizer's, and writes the next before it drops the last
)
_TRAININGS = ("train_", "finetune_", "pretrain_")


@dataclass(frozen=True)
class Machine:
    """What a run is planned for: cores, GPUs, and "cpu" or "cuda" with the GPU's name (as far as it is known)."""

    cores: int
    gpus: int
    device: str


@dataclass
class Row:
    """What the jobs of one stage in one run take together. units: of `unit`, seconds: of all jobs one after the other;
    gpu_seconds: those of GPUs; core_seconds: those of cores in jobs that take no GPU; size: bytes on the disk; memory: MiB
    of the largest job, gpu_memory: GiB of a GPU, None where it was not measured; asked: MiB that a cluster is asked for; unknown: nothing says how long it takes; pace:
    what the seconds are reckoned from, and what of it differs."""

    stage: str
    run: str
    unit: str
    jobs: int = 0
    units: float = 0.0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0
    size: float = 0.0
    memory: float | None = None
    asked: float = 0.0
    gpu_memory: float | None = None
    unknown: bool = False
    pace: Pace | None = None
    differing: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What the seconds are reckoned from, in words."""
        if self.pace is None:
            return "not known" if self.unknown else "reckoned"
        like = f"as {self.pace.as_stage}: " if self.pace.as_stage else ""
        other = f"; {', '.join(self.differing)}" if self.differing else ""
        return f"{like}{self.pace.origin} ({self.pace.of}){other}"

    @property
    def is_sure_of_size(self) -> bool:
        """Whether the bytes are those of rows as these: measured here with the same methods, or shipped for them."""
        return self.pace is not None and self.pace.size is not None and not self.differing


@dataclass(frozen=True)
class Estimate:
    """rows in the order of the work; seconds: until the last job ends; sizes that they rest on."""

    rows: list[Row]
    seconds: float
    sizes: Sizes

    @property
    def size(self) -> float:
        """Bytes that the run will have on the disk."""
        return sum(row.size for row in self.rows)

    @property
    def under_way(self) -> float:
        """Bytes of the checkpoints of the largest training while it lasts."""
        return _CHECKPOINTS * max(
            (row.size / row.jobs for row in self.rows if row.stage.startswith(_TRAININGS)), default=0.0
        )


def estimate(
    jobs: list[PlannedJob], configs: dict[str, dict], sizes: Sizes, paces: Paces, machine: Machine
) -> Estimate:
    """What jobs take.

    configs: {run: its configuration}; sizes: those of the data set, of which each job of a shard has its share.
    """
    settings = {run: flat(config) for run, config in configs.items()}
    rows: dict[tuple[str, str], Row] = {}
    tasks = []
    for job in jobs:
        config = configs[job.run]
        share = 1 / config["shards"] if job.rule in stages() and stages()[job.rule].per == "shard" else 1.0
        of_run = replace(sizes, detectors=len(detectors(config)))
        row = rows.setdefault((job.run, job.rule), Row(job.rule, job.run, unit=WORK[job.rule].unit))
        seconds, threads, gpus = _add(row, job, of_run, share, settings[job.run], paces, machine)
        tasks.append(Task(seconds, threads, gpus, job.waits_for))
    return Estimate(list(rows.values()), makespan(tasks, cores=machine.cores, gpus=machine.gpus), sizes)


def _add(
    row: Row, job: PlannedJob, sizes: Sizes, share: float, settings: Settings, paces: Paces, machine: Machine
) -> tuple[float, int, int]:
    """Count a job in its row; its seconds, threads and GPUs."""
    work, declaration = WORK[job.rule], stages().get(job.rule)
    units = work.units(sizes, settings) * share
    row.jobs, row.units = row.jobs + 1, row.units + units
    if declaration is None:
        seconds = 1 + units * _OTHER_SECONDS[job.rule]
        row.size += units * _SCENE_BYTES if job.rule == "toy" else 0
        row.seconds += seconds
        row.core_seconds += seconds
        return seconds, 1, 0
    on_gpu = bool(declaration.gpu) and machine.gpus > 0
    wanted = depends(job.rule, settings, job.part, sizes)
    found = paces.nearest(job.rule, wanted, units, machine.device, machine.cores)
    threads = min(declaration.threads, machine.cores)
    if found is None:
        row.unknown = True
        row.asked = float(declaration.mem_mb)
        return paces.start_up[True], threads, int(on_gpu)
    row.pace, row.differing = found[0], tuple(found[1])
    gpus = _gpus(job.rule, settings, machine) if on_gpu else 0
    seconds = paces.start_up[bool(declaration.gpu)] + units * row.pace.seconds / max(1, gpus)
    rows_of_files = 1 if work.fixed else (work.rows(sizes) * share if work.rows else units)
    row.size += (row.pace.size or 0.0) * rows_of_files
    row.seconds += seconds
    row.gpu_seconds += seconds * gpus
    row.core_seconds += 0 if on_gpu else seconds * threads
    row.memory = None if row.differing else row.pace.memory
    row.asked = float(declaration.mem_mb)
    if on_gpu and row.pace.gpu_memory:
        row.gpu_memory = row.pace.gpu_memory * _at_once(job.rule, settings, gpus)
    return seconds, threads, gpus


def _at_once(stage: str, settings: Settings, gpus: int) -> float:
    """Pictures that a training takes at once on a GPU; of other stages the memory is that of the whole job."""
    if f"{stage}.steps" not in settings:
        return 1
    return settings[f"{stage}.batch"] / settings.get(f"{stage}.accumulate", 1) / max(1, gpus)


def _gpus(stage: str, settings: Settings, machine: Machine) -> int:
    """GPUs of a job: a training that several processes can share takes all among which its batch can be divided."""
    if not stages()[stage].processes:
        return 1
    parts = settings[f"{stage}.batch"] // settings[f"{stage}.accumulate"]
    return next(count for count in range(machine.gpus, 0, -1) if parts % count == 0)
