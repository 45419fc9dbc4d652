"""What every row of the benchmarks is made of: medians of runs after a warm-up, the machine, the peak of memory.

A machine's speed changes while it is measured: others use it, its clock goes down when it gets warm. So two sides are
timed in turns (ours, baseline, ours, baseline, …), and what counts is the median of the pairs' ratios: a change of
speed meets both sides of nearly every pair alike.
"""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

RUNS = 5


@dataclass
class Row:
    """One measurement. ours, baseline: in `unit`; ratio, spread: of a Comparison; wanted: the least ratio (of a bound:
    the most that ours may be); runs: how often each side was timed; sizes, agreement: in words; agreement says how it
    was seen that both sides give the same, or how good each is."""

    name: str
    unit: str
    sizes: str
    ours: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    wanted: float | None = None
    bound: bool = False
    agreement: str = ""
    device: str = ""
    threads: int = 0
    runs: int = RUNS
    peak_mib: int = 0
    details: dict = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the row keeps what is asked of it; None where it was not measured or nothing is asked."""
        value = self.ours if self.bound else self.ratio
        if value is None or self.wanted is None:
            return None
        return value <= self.wanted if self.bound else value >= self.wanted

    def as_json(self) -> dict:
        """The row as results.json has it."""
        return asdict(self) | {"holds": self.holds}


@dataclass(frozen=True)
class Comparison:
    """Two sides timed in turns; the fields are those of a Row. ours, baseline: units a second, each the median of its
    runs; ratio: the median of the pairs' ratios, ours over baseline; spread: the least and the largest of them."""

    ours: float
    baseline: float
    ratio: float
    spread: tuple[float, float]
    runs: int


def interleaved(
    ours: Callable[[], object],
    baseline: Callable[[], object],
    *,
    units: float = 1,
    baseline_units: float = 1,
    device: str = "cpu",
    runs: int = RUNS,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time `runs` pairs of calls, each of ours and then of the baseline, after one pair that warms up.

    units, baseline_units: what one call of each side does, in the same unit (images, crops, …). A call should take a
    tenth of a second or more, so that a hiccup of the machine is small beside it. clock: seconds.
    """
    rates = []
    for _ in range(runs + 1):
        ours_seconds = _time(ours, device, clock)
        baseline_seconds = _time(baseline, device, clock)
        rates.append((units / ours_seconds, baseline_units / baseline_seconds))
    rates = rates[1:]
    ratios = [rate / baseline_rate for rate, baseline_rate in rates]
    return Comparison(
        ours=statistics.median(rate for rate, _ in rates),
        baseline=statistics.median(baseline_rate for _, baseline_rate in rates),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        runs=runs,
    )


def seconds(work: Callable[[], object], device: str = "cpu", runs: int = RUNS) -> float:
    """The median time of `runs` calls after one that warms up: for what has no baseline."""
    times = [_time(work, device, time.perf_counter) for _ in range(runs + 1)]
    return statistics.median(times[1:])


def _time(work: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    """Seconds of one call, with all that it started on a GPU."""
    began = clock()
    work()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return clock() - began


def machine(device: str) -> str:
    """The device in words."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name()
    return f"{len(os.sched_getaffinity(0))} cores of {platform.machine()}"


def peak_mib() -> int:
    """The most memory that this process or a child of it has held, MiB."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most // 1024
