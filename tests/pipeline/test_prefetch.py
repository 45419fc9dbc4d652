"""Work done ahead."""

import threading

import pytest

from pipeline.prefetch import ahead


def test_results_come_in_order_and_only_a_window_is_begun():
    taken = []

    def items():
        for i in range(50):
            taken.append(i)
            yield i

    results = ahead(lambda i: i * i, items(), threads=3, window=5)
    assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
    assert len(taken) <= 4 + 5 + 1
    assert list(results) == [i * i for i in range(4, 50)]


def test_a_fault_comes_at_its_place():
    def work(i):
        return 1 / (3 - i)

    results = ahead(work, range(9), threads=2)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_several_threads_work_together():
    barrier = threading.Barrier(3, timeout=20)
    assert len(list(ahead(lambda _: barrier.wait(), range(6), threads=3))) == 6
