"""The place of a number among others."""

import numpy as np
import pandas as pd
import pytest

from structures.ranks import mean_rank_shares, rank_correlation, rank_share, rank_shares


def test_it_is_what_pandas_says_ties_included():
    values = np.random.default_rng(0).integers(0, 9, 40).astype(np.float32)
    share = rank_share(values)
    assert [share(value) for value in values] == pytest.approx(pd.Series(values).rank(pct=True).tolist())
    np.testing.assert_array_equal(rank_shares(values), [share(value) for value in values])


def test_of_nothing_and_of_what_is_none_of_them():
    assert rank_share([])(3.0) == 0
    assert rank_share([1, 2, 3, 4])(2.5) == 0.5


def test_the_mean_of_ranks_does_not_depend_on_the_order_of_the_columns():
    rng = np.random.default_rng(1)
    for _ in range(50):
        columns = [rng.permutation(40).astype(np.float32) for _ in range(4)]
        shares = mean_rank_shares(columns)
        np.testing.assert_array_equal(shares, mean_rank_shares(columns[::-1]))
        assert shares == pytest.approx(pd.Series(np.mean(columns, axis=0)).rank(pct=True).to_numpy())
    np.testing.assert_array_equal(mean_rank_shares(columns[:1]), rank_shares(columns[0]))


def test_of_those_that_tie_the_upper_rank_is_that_of_all_of_them():
    assert rank_shares(np.array([1, 1, 2, 3]), upper=True).tolist() == [0.5, 0.5, 0.75, 1]


def test_rank_correlation_of_distinct_values_is_spearmans_formula():
    rng = np.random.default_rng(0)
    for length in (2, 3, 10, 100):
        a, b = rng.permutation(length), rng.permutation(length)
        closed_form = 1 - 6 * np.sum((a - b) ** 2) / (length * (length**2 - 1))
        assert rank_correlation(a, b) == pytest.approx(closed_form)
        assert rank_correlation(np.exp(a), b**3) == pytest.approx(closed_form)  # ranks alone count


def test_rank_correlation_keeps_its_last_digit():
    """pandas' method "spearman" sums in another order."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random(40).round(1), rng.random(40)
        ranks = [pd.Series(values).rank() for values in (a, b)]
        assert rank_correlation(a, b) == ranks[0].corr(ranks[1])


def test_rank_correlation_gives_ties_their_mean_rank():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 4, 60)

    def mean_ranks(values):
        return [np.mean([1 + np.sum(values < v), np.sum(values <= v)]) for v in values]

    expected = np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1]
    assert rank_correlation(a, b) == pytest.approx(expected)
    shifted = pd.Series(b, index=range(100, 160))  # rows belong together by place, not by label
    assert rank_correlation(pd.Series(a), shifted) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [2]), ([1, 2, 3], [5, 5, 5])])
def test_rank_correlation_is_0_where_there_is_no_order(a, b):
    assert rank_correlation(a, b) == 0


def test_ranks_of_more_values_than_are_looked_up_together(monkeypatch):
    monkeypatch.setattr("structures.ranks._TOGETHER", 7)
    values = np.random.default_rng(2).integers(0, 30, 100).astype(np.float32)
    np.testing.assert_array_equal(rank_shares(values), pd.Series(values).rank(pct=True))
    np.testing.assert_array_equal(rank_shares(values, upper=True), pd.Series(values).rank(pct=True, method="max"))
    total = pd.Series(values).rank() + pd.Series(-values).rank()
    np.testing.assert_array_equal(mean_rank_shares([values, -values]), total.rank(pct=True))
