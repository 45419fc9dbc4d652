"""Work done ahead by threads or processes, its results in order: pictures are decoded while the network is busy."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def prefetch(work: Callable[[Item], Result], items: Iterable[Item], *, pool: Executor, window: int) -> Iterator[Result]:
    """work(item) for every item, in order, at most `window` of them begun and not yet asked for.

    Items are taken from their iterator by the calling thread only.
    """
    waiting: deque[Future] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for task in waiting:
            task.cancel()
