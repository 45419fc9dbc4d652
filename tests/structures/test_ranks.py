"""The place of a number among others."""

import numpy as np
import pandas as pd
import pytest

from structures.ranks import rank_share, rank_shares


def test_it_is_what_pandas_says_ties_included():
    values = np.random.default_rng(0).integers(0, 9, 40).astype(np.float32)
    share = rank_share(values)
    assert [share(value) for value in values] == pytest.approx(pd.Series(values).rank(pct=True).tolist())
    np.testing.assert_array_equal(rank_shares(values), [share(value) for value in values])


def test_of_nothing_and_of_what_is_none_of_them():
    assert rank_share([])(3.0) == 0
    assert rank_share([1, 2, 3, 4])(2.5) == 0.5
