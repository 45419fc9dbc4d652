"""The place of a number among others."""

import numpy as np
import pandas as pd
import pytest

from structures.ranks import RankCorrelation, above_share, mean_ranks, rank_share
from structures.spilled import Spilled


def test_it_is_what_pandas_says_ties_included():
    values = np.random.default_rng(0).integers(0, 9, 40).astype(np.float32)
    share = rank_share(values)
    assert [share(value) for value in values] == pytest.approx(pd.Series(values).rank(pct=True).tolist())


def test_of_nothing_and_of_what_is_none_of_them():
    assert rank_share([])(3.0) == 0
    assert rank_share([1, 2, 3, 4])(2.5) == 0.5


def ranks_of(*columns) -> np.ndarray:
    spilled = Spilled()
    for i, column in enumerate(columns):
        spilled.add(i, np.asarray(column, np.float32).tobytes())
    return mean_ranks(spilled, range(len(columns)))


@pytest.mark.parametrize("together", [7, 65536])
def test_the_mean_of_ranks_does_not_depend_on_the_order_of_the_columns(monkeypatch, together):
    monkeypatch.setattr("structures.ranks._TOGETHER", together)
    rng = np.random.default_rng(1)
    for _ in range(20):
        columns = [rng.integers(0, 30, 40) for _ in range(4)]
        ranks = ranks_of(*columns)
        np.testing.assert_array_equal(ranks, ranks_of(*columns[::-1]))
        mean = np.mean([pd.Series(column).rank() for column in columns], axis=0)
        np.testing.assert_array_equal(ranks / 2, pd.Series(mean).rank())
    np.testing.assert_array_equal(ranks_of(columns[0]) / 2, pd.Series(columns[0]).rank())
    assert ranks_of([], []).tolist() == []


def test_of_those_that_tie_all_are_above_a_share_or_none():
    assert above_share(np.array([1, 2, 3, 1]), 0.5).tolist() == [False, True, True, False]
    assert above_share(np.array([1, 2, 3, 1]), 0.4).tolist() == [True] * 4
    rng = np.random.default_rng(2)
    for count in (0, 1, 9, 10, 100):
        values = rng.integers(0, 30, count)
        for share in (0.0, 0.07, 0.1, 0.29, 0.3, 0.57, 1.0):
            expected = pd.Series(values).rank(pct=True, method="max") > share
            np.testing.assert_array_equal(above_share(values, share), expected)


def rank_correlation(a, b) -> float:
    correlation = RankCorrelation()
    for pair in zip(a, b):
        correlation.add(*map(float, pair))
    return correlation.value()


def test_rank_correlation_of_distinct_values_is_spearmans_formula():
    rng = np.random.default_rng(0)
    for length in (2, 3, 10, 100):
        a, b = rng.permutation(length), rng.permutation(length)
        closed_form = 1 - 6 * np.sum((a - b) ** 2) / (length * (length**2 - 1))
        assert rank_correlation(a, b) == pytest.approx(closed_form)
        assert rank_correlation(np.exp(a), b**3) == pytest.approx(closed_form)  # ranks alone count


def test_rank_correlation_is_pandas_also_of_more_than_is_held(monkeypatch, tmp_path):
    monkeypatch.setattr("structures.spilled._HELD", 1000)
    monkeypatch.setattr("structures.ranks._PART", 64)
    rng = np.random.default_rng(0)
    for count in (2, 40, 3000):
        a, b = rng.random(count).round(1), rng.random(count)
        correlation = RankCorrelation(tmp_path)
        for pair in zip(a, b):
            correlation.add(*pair)
        np.testing.assert_array_equal(correlation.column("a"), a)
        np.testing.assert_array_equal(correlation.column("b"), b)
        assert correlation.value() == pytest.approx(pd.Series(a).corr(pd.Series(b), "spearman"), abs=1e-12)


def test_rank_correlation_gives_ties_their_mean_rank():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 4, 60)

    def mean_ranks(values):
        return [np.mean([1 + np.sum(values < v), np.sum(values <= v)]) for v in values]

    expected = np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1]
    assert rank_correlation(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [2]), ([1, 2, 3], [5, 5, 5])])
def test_rank_correlation_is_0_where_there_is_no_order(a, b):
    assert rank_correlation(a, b) == 0
