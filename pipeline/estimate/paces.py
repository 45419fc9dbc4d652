"""How long a unit of each stage takes: what earlier runs of a data folder measured, or else what is shipped."""

from collections import defaultdict
from dataclasses import replace

from pipeline.estimate.measured import Job
from pipeline.estimate.pace import MEASURED, OF_EMBEDDED_RUN, PUBLISHED, Pace, pooled
from pipeline.estimate.shipped import BYTES, of_embedded_run, published
from pipeline.estimate.work import WORK
from pipeline.registry import stages

_WITH_TORCH, _WITHOUT = 4.0, 1.5  # seconds that a job needs to start, where none was measured
_RANKS = {MEASURED: 0, OF_EMBEDDED_RUN: 1, PUBLISHED: 2}


class Paces:
    """All that is known of the stages' speed: of earlier runs' jobs, on a machine of so many cores, and what is shipped.

    start_up: {whether it loads torch: seconds that a job needs to start}, those of the quickest job that was measured, which
    on a crowded machine may be work, too, so twice the usual at most."""

    def __init__(self, jobs: list[Job], cores: int):
        self.start_up = {}
        for torch, usual in ((True, _WITH_TORCH), (False, _WITHOUT)):
            seconds = [job.seconds for job in jobs if bool(stages()[job.stage].gpu) == torch]
            self.start_up[torch] = min(*seconds, 2 * usual) if seconds else usual
        self._known = defaultdict(list)
        for pace in [*pooled(jobs, cores, self.start_up), *of_embedded_run(), *published()]:
            self._known[pace.stage].append(pace)
        for stage, work in WORK.items():
            for pace in self._known[work.as_stage] if work.as_stage else []:
                if pace.origin == PUBLISHED:
                    self._known[stage].append(replace(pace, stage=stage, as_stage=work.as_stage, size=BYTES.get(stage)))

    def nearest(self, stage: str, wanted: dict, units: float, device: str, cores: int) -> tuple[Pace, list[str]] | None:
        """The pace that fits best, and what of it differs from what is wanted; None where nothing is known of the device.

        Of several that fit alike one that was measured here goes before one that is shipped, and one of its own stage before
        one of another; but jobs that were start-up mostly say little about `units` many times theirs. Its seconds are those
        of so many cores, or of a GPU, and at the wanted sizes of pictures. device: "cpu", "cuda", or "cuda" and a name.
        """
        declaration = stages()[stage]
        on_gpu = device != "cpu" and bool(declaration.gpu)
        fitting = [
            pace for pace in self._known[stage] if not declaration.gpu or pace.device.split()[0] == device.split()[0]
        ]
        if not fitting:
            return None

        def order(pace: Pace) -> tuple:
            other_gpu = on_gpu and pace.device != device
            far = units > pace.reach
            return _distance(pace, wanted), other_gpu, far, _RANKS[pace.origin], bool(pace.as_stage), -pace.cores

        pace = min(fitting, key=order)
        seconds = pace.seconds * _pixels(pace, wanted)
        if not on_gpu:
            seconds *= min(declaration.threads, pace.cores) / min(declaration.threads, cores)
        differing = [f"{pace.depends.get(key)} for {value}" for key, value in _unequal(pace, wanted)]
        if on_gpu and device not in ("cuda", pace.device):
            differing.append(f"{pace.device} for {device}".replace("cuda ", ""))
        size = BYTES.get(stage, pace.size) if differing else pace.size
        return replace(pace, seconds=seconds, size=size), differing


def _unequal(pace: Pace, wanted: dict) -> list[tuple[str, object]]:
    return [(key, value) for key, value in wanted.items() if pace.depends.get(key) != value]


def _is_side(key: str, pace: Pace, value: object) -> bool:
    """Whether it is a picture's side in pixels, with the square of which the time grows."""
    return key.endswith(("min_size", "image_size", "side")) and isinstance(pace.depends.get(key), int)


def _distance(pace: Pace, wanted: dict) -> float:
    return sum(0.5 if _is_side(key, pace, value) else 1.0 for key, value in _unequal(pace, wanted))


def _pixels(pace: Pace, wanted: dict) -> float:
    factor = 1.0
    for key, value in _unequal(pace, wanted):
        if _is_side(key, pace, value):
            factor *= (value / pace.depends[key]) ** 2
    return factor
