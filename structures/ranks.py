"""Numbers as their place among others, for scores whose size says nothing."""

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

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


def mean_ranks(columns: Sequence[BinaryIO]) -> np.ndarray:
    """Twice the rank, 2 the lowest, that each row [n] uint32 has by the mean of its ranks in several columns, whatever their
    order; equal ones share the middle of their ranks.

    columns: files of n float32 each, no NaN among them. In memory are eight bytes a row.
    """
    total = np.zeros(0, np.uint32)
    for column in columns:
        column.seek(0)
        ordered = np.fromfile(column, np.float32)
        ordered.sort()
        total = total if len(total) else np.zeros(len(ordered), np.uint32)
        column.seek(0)
        for first in range(0, len(ordered), _TOGETHER):
            total[first : first + _TOGETHER] += _twice_ranks(np.fromfile(column, np.float32, _TOGETHER), ordered)
    ordered = np.sort(total)
    for first in range(0, len(total), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        total[part] = _twice_ranks(total[part], ordered)
    return total


def above_share(values: np.ndarray, share: float) -> np.ndarray:
    """Which of the values [n] more than this share of them, 0 to 1, are at most, [n] bool: of those that tie all or none."""
    count = len(values)
    most = next((k for k in range(min(count, int(share * count) + 1), 0, -1) if k / count <= share), 0)
    return values >= np.sort(values)[most] if most < count else np.zeros(count, bool)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's, of two columns of numbers [n], ties at their mean rank; 0 where one is constant or shorter than two."""
    if len(a) < 2:
        return 0.0
    first, second = (pd.Series(_twice_ranks(values, np.sort(values)) / 2) for values in map(np.asarray, (a, b)))
    value = float(first.corr(second))
    return value if np.isfinite(value) else 0.0


def _twice_ranks(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Of values [n] among `ordered`, in which they are, [n] uint32; 2 the lowest."""
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + upto + 1).astype(np.uint32)
