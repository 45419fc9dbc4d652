"""Numbers as their place among others, for scores whose size says nothing."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

_TOGETHER = 65536  # values of which the place is looked up


def rank_share(values: Iterable[float]) -> Callable[[float], float]:
    """share(value): which of the values are smaller, equal ones by half, as a share above 0 and at most 1: pandas'
    rank(pct=True). Of a value that is none of them the share of those below it."""
    ordered = np.sort(np.fromiter(values, np.float32))

    def share(value: float) -> float:
        below, upto = (int(np.searchsorted(ordered, np.float32(value), side)) for side in ("left", "right"))
        return (below + upto + 1) / 2 / len(ordered) if upto > below else below / max(1, len(ordered))

    return share


def rank_shares(values: np.ndarray, *, upper: bool = False) -> np.ndarray:
    """rank_share of each of the values [n] among them, [n] float64; upper: equal ones count wholly, not by half."""
    return _ranks(values, np.empty(len(values)), upper=upper) / max(1, len(values))


def mean_rank_shares(columns: Sequence[np.ndarray]) -> np.ndarray:
    """rank_shares [n] of the mean of the ranks that each row has in several columns [n], whatever their order: sums of ranks
    are exact."""
    total = np.zeros(len(columns[0]))
    for values in columns:
        _ranks(values, total, add=True)
    return _ranks(total, total) / max(1, len(total))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's, of two columns of numbers [n], ties at their mean rank; 0 where one is constant or shorter than two."""
    if len(a) < 2:
        return 0.0
    first, second = (pd.Series(_ranks(np.asarray(values), np.empty(len(values)))) for values in (a, b))
    value = float(first.corr(second))
    return value if np.isfinite(value) else 0.0


def _ranks(values: np.ndarray, ranks: np.ndarray, *, upper: bool = False, add: bool = False) -> np.ndarray:
    """Ranks of values [n], 1 the lowest, written into `ranks` [n] float64, which may be the values, or added to it. Takes
    as much memory again as the values."""
    ordered = np.sort(values)
    for first in range(0, len(values), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        upto = np.searchsorted(ordered, values[part], "right")
        places = upto if upper else (np.searchsorted(ordered, values[part], "left") + upto + 1) / 2
        ranks[part] = ranks[part] + places if add else places
    return ranks
