"""The place of a number among others."""

import numpy as np
import pandas as pd
import pytest

from structures.ranks import mean_rank_shares, rank_share, rank_shares


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
