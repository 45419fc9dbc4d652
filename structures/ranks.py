"""Numbers as their place among others, for scores whose size says nothing."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd


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
    return pd.Series(values).rank(pct=True, method="max" if upper else "average").to_numpy()


def mean_rank_shares(columns: Sequence[np.ndarray]) -> np.ndarray:
    """rank_shares [n] of the mean of the ranks that each row has in several columns [n], whatever their order: sums of ranks
    are exact."""
    return rank_shares(np.sum([pd.Series(values).rank().to_numpy() for values in columns], axis=0))
