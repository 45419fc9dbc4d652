"""Numbers as their place among others, for scores whose size says nothing."""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from structures.spilled import Spilled

_TOGETHER = 65536  # values of which the place is looked up
_PART = (
    4096  # bytes of a column that are looked at together: few enough for the squares of 100 million ranks in 64 bits
)
_DOUBLE = struct.Struct("=d")


def rank_share(values: Iterable[float]) -> Callable[[float], float]:
    """share(value): which of the values are smaller, equal ones by half, as a share above 0 and at most 1: pandas'
    rank(pct=True). Of a value that is none of them the share of those below it."""
    ordered = np.sort(np.fromiter(values, np.float32))

    def share(value: float) -> float:
        below, upto = (int(np.searchsorted(ordered, np.float32(value), side)) for side in ("left", "right"))
        return (below + upto + 1) / 2 / len(ordered) if upto > below else below / max(1, len(ordered))

    return share


def mean_ranks(columns: Spilled, names: Sequence[str]) -> np.ndarray:
    """Twice the rank, 2 the lowest, that each row [n] uint32 has by the mean of its ranks in several columns, whatever their
    order; equal ones share the middle of their ranks.

    columns: under each of the names n float32, no NaN among them. In memory are eight bytes a row.
    """
    total = np.zeros(0, np.uint32)
    for name in names:
        ordered = np.frombuffer(columns[name], np.float32)
        ordered.sort()
        total = total if len(total) else np.zeros(len(ordered), np.uint32)
        for i, part in enumerate(columns.parts(name, 4 * _TOGETHER)):
            values = np.frombuffer(part, np.float32)
            total[i * _TOGETHER :][: len(values)] += _twice_ranks(values, ordered)
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


class RankCorrelation:
    """Spearman's, of pairs of numbers that are added one at a time; in memory are eight bytes a pair. folder: as Spilled's."""

    def __init__(self, folder: Path | None = None):
        self._columns = Spilled(folder)
        self.pairs = 0

    def add(self, a: float, b: float) -> None:
        self._columns.add("a", _DOUBLE.pack(a))
        self._columns.add("b", _DOUBLE.pack(b))
        self.pairs += 1

    def column(self, which: str) -> np.ndarray:
        """What was added first ("a") or second ("b") of each pair, [n] float64."""
        return np.frombuffer(self._columns[which], np.float64)

    def value(self) -> float:
        """-1 to 1, ties at their mean rank; 0 where one number is always the same, or there are less than two pairs. To be asked
        for once."""
        for which in "ab":
            ordered = self.column(which)
            ordered.sort()
            for part in self._columns.parts(which, _PART):
                away = _twice_ranks(np.frombuffer(part, np.float64), ordered).astype(np.int64) - self.pairs - 1
                self._columns.add(f"ranks {which}", away.tobytes())  # from the mean of the ranks, twice: sums are exact
        sums = [0, 0, 0]
        for part in zip(*(self._columns.parts(f"ranks {which}", _PART) for which in "ab")):
            a, b = (np.frombuffer(ranks, np.int64) for ranks in part)
            sums = [total + int(product) for total, product in zip(sums, (a @ b, a @ a, b @ b))]
        return sums[0] / math.sqrt(sums[1] * sums[2]) if sums[1] and sums[2] else 0.0


def _twice_ranks(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Of values [n] among `ordered`, in which they are, [n] uint32; 2 the lowest."""
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + upto + 1).astype(np.uint32)
