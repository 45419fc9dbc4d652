"""Work done ahead by threads, its results in order: pictures are decoded while the network is busy with others."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, window: int = 0) -> Iterator[Result]:
    """work(item) for every item, in order, at most `window` of them (4 a thread) begun and not yet asked for.

    Items are taken from their iterator by the calling thread only.
    """
    window = window or 4 * threads
    with ThreadPoolExecutor(threads) as pool:
        begun: deque = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > window:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for task in begun:
                task.cancel()
