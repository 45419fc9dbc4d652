"""When the last of some jobs ends, on so many cores and GPUs: jobs start in their order, as soon as what they wait for is done and
there is room, which is what Snakemake does."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Task:
    """seconds on `threads` cores and `gpus` GPUs; waits_for: numbers of tasks."""

    seconds: float
    threads: int = 1
    gpus: int = 0
    waits_for: set[int] = field(default_factory=set)


def makespan(tasks: Sequence[Task], *, cores: int, gpus: int) -> float:
    """Seconds until all tasks are done. A task that wants more than there is takes all. Raises ValueError where tasks wait for
    each other."""
    waiting = {number: set(task.waits_for) for number, task in enumerate(tasks)}
    followers: dict[int, list[int]] = {}
    for number, before in waiting.items():
        for other in before:
            followers.setdefault(other, []).append(number)
    ready = [number for number, before in waiting.items() if not before]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, free_cores, free_gpus, done = 0.0, cores, gpus, 0
    while ready or running:
        held = []
        while ready and free_cores > 0:
            number = heapq.heappop(ready)
            wanted = min(tasks[number].threads, cores), min(tasks[number].gpus, gpus)
            if wanted[0] > free_cores or wanted[1] > free_gpus:
                held.append(number)
                continue
            free_cores, free_gpus = free_cores - wanted[0], free_gpus - wanted[1]
            heapq.heappush(running, (now + tasks[number].seconds, number))
        for number in held:
            heapq.heappush(ready, number)
        now, number = heapq.heappop(running)
        done += 1
        free_cores += min(tasks[number].threads, cores)
        free_gpus += min(tasks[number].gpus, gpus)
        for follower in followers.get(number, ()):
            waiting[follower].discard(number)
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    if done < len(tasks):
        raise ValueError(f"{len(tasks) - done} tasks wait for each other")
    return now
