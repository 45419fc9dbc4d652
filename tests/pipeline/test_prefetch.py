"""Work done ahead."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.prefetch import prefetch


@pytest.fixture()
def pool():
    with ThreadPoolExecutor(3) as executor:
        yield executor


def test_results_come_in_order_and_only_a_window_is_begun(pool):
    taken = []

    def items():
        for i in range(50):
            taken.append(i)
            yield i

    results = prefetch(lambda i: i * i, items(), pool=pool, window=5)
    assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
    assert len(taken) <= 4 + 5 + 1
    assert list(results) == [i * i for i in range(4, 50)]


def test_a_fault_comes_at_its_place(pool):
    def work(i):
        return 1 / (3 - i)

    results = prefetch(work, range(9), pool=pool, window=4)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_several_threads_work_together(pool):
    barrier = threading.Barrier(3, timeout=20)
    assert len(list(prefetch(lambda _: barrier.wait(), range(6), pool=pool, window=12))) == 6
