"""A function in a process of its own, with bounded memory and time: what crashes or hangs there fails one case alone."""

import multiprocessing
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

GIB = 1 << 30


class Limited:
    """limited(function, *arguments): its result, or what it raised. Raises AssertionError where the process died, or took
    more seconds of a processor (of the clock sixty times as many, for others are at work, too); MemoryError comes where it
    wanted more memory than that."""

    def __init__(self, memory: int = GIB, seconds: int = 20):
        self._limits, self._pool = (memory, seconds), None

    def __call__(self, function: Callable, *arguments):
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(self._limits[0],))
        try:
            return self._pool.submit(_in_time, self._limits[1], function, arguments).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise AssertionError(f"{function.__name__} killed its process") from error

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _prepare(memory: int) -> None:
    import sources.coco
    import sources.folder
    import sources.images
    import sources.openimages
    import sources.vocabulary  # noqa: F401 (so that what they take is not of the first case)

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def _in_time(seconds: int, function: Callable, arguments: tuple):
    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 60 * seconds)}
    for timer, (number, most) in timers.items():
        signal.signal(number, _late)
        signal.setitimer(timer, most)
    try:
        return function(*arguments)
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)


def _late(*_) -> None:
    raise AssertionError("it takes too long")
