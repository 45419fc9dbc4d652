"""What every row of the benchmarks is made of: medians of runs after a warm-up, the machine, the peak of memory."""

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
    """One measurement. ours, baseline: in `unit`; wanted: the least ratio (of a bound: the most that ours may be);
    sizes, agreement: in words; agreement says how it was seen that both sides give the same, or how good each is."""

    name: str
    unit: str
    sizes: str
    ours: float | None = None
    baseline: float | None = None
    ratio: float | None = None
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


def seconds(work: Callable[[], object], device: str = "cpu", runs: int = RUNS) -> float:
    """The median time of `runs` calls after one that warms up."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


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
