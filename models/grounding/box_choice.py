"""Choosing boxes by activation (Mask-free OVIS, Eq. 6):  b* = argmax over proposals of (sum of Phi inside b) / sqrt|b|.

A box is the product of two intervals, so the sum of a map over it is a product as well: r A c, with the weights that its
rows and columns give to the cells of A. Many pairs of a map and its boxes are three batched products.
"""

from dataclasses import dataclass

import numpy as np

_PAIRS = 64  # that are scored at once: what they need stays in a core's cache


def interval_weights(start: np.ndarray, end: np.ndarray, cells: int, *, linear: bool = False) -> np.ndarray:
    """How much of each of `cells` unit cells an interval start..end (in cells, inside 0..cells) takes.

    Of one enlarged by nearest neighbour: the length that it covers of the cell. linear: of one read linearly between the
    centres of cells, and constantly beyond the outer ones: the integral over the interval of the cell's hat function.
    start, end: [...]; returns [..., cells] float64 whose sum is the interval's length.
    """
    if not linear:
        cell = np.arange(cells)
        covered = np.minimum(cell + 1, end[..., None])
        covered -= np.maximum(cell, start[..., None])
        return np.maximum(covered, 0, out=covered)
    centre = np.arange(-1, cells + 1) + 0.5

    def integral(position: np.ndarray) -> np.ndarray:
        t = np.clip(position[..., None] - centre, -1, 1)
        return t - 0.5 * t * np.abs(t)

    padded = integral(end) - integral(start)
    weights = padded[..., 1:-1]
    weights[..., 0] += padded[..., 0]
    weights[..., -1] += padded[..., -1]
    return weights


def activation_sums(
    activations: np.ndarray, boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray, *, linear: bool = False
) -> np.ndarray:
    """The sum of each activation over the pixels of each of its boxes: [P, N] float64.

    activations: [P, h, w] cells over pictures of heights, widths [P] pixels; boxes: [P, N, 4] xyxy pixels; linear: see
    interval_weights.
    """
    _, rows, columns = activations.shape
    y_cell, x_cell = (heights / rows)[:, None], (widths / columns)[:, None]
    y = np.clip(boxes[..., 1::2] / y_cell[..., None], 0, rows)
    x = np.clip(boxes[..., 0::2] / x_cell[..., None], 0, columns)
    of_rows = interval_weights(y[..., 0], y[..., 1], rows, linear=linear)
    of_columns = interval_weights(x[..., 0], x[..., 1], columns, linear=linear)
    inside = np.einsum("pnc,pnc->pn", of_rows @ activations, of_columns)
    return np.maximum(inside, 0) * y_cell * x_cell


@dataclass(frozen=True)
class Choice:
    """A chosen box: its index among the proposals, the score of Eq. 6, and the share of the whole activation inside."""

    index: int
    score: float
    share: float


def select_boxes(
    activations: np.ndarray,
    boxes: np.ndarray,
    *,
    heights: np.ndarray,
    widths: np.ndarray,
    instances: np.ndarray | int = 1,
    min_share: float = 0.0,
    linear: bool = False,
) -> list[list[Choice]]:
    """The best box for each activation, and further ones for what activation is left.

    activations: [P, h, w], at least 0; boxes: [P, N, 4] xyxy pixels, those without area are never chosen (so fewer than N
    are filled up with zeros); heights, widths: [P] of the pictures, in pixels; instances: [P], how many boxes at most; a
    further box must hold min_share of the whole activation. Returns for each pair its choices, best first, in the
    order of the search; none where the activation is zero everywhere or no box has an area.
    """
    counts = np.broadcast_to(instances, len(activations))
    chosen: list[list[Choice]] = []
    for first in range(0, len(activations), _PAIRS):
        part = slice(first, first + _PAIRS)
        maps, rects = activations[part].astype(np.float64), boxes[part].astype(np.float64)
        options = {"heights": heights[part], "widths": widths[part], "linear": linear}
        found = _best(maps, rects, **options)
        chosen += [[choice] if choice else [] for choice in found]
        for i in np.flatnonzero(counts[part] > 1):
            one = {"heights": heights[part][i : i + 1], "widths": widths[part][i : i + 1], "linear": linear}
            chosen[first + i] += _further(maps[i], rects[i], chosen[first + i], counts[first + i], min_share, one)
    return chosen


def _best(maps: np.ndarray, boxes: np.ndarray, totals=None, *, heights, widths, linear) -> list[Choice | None]:
    if totals is None:
        totals = maps.mean((1, 2)) * heights * widths
    size = boxes[..., 2:] - boxes[..., :2]
    whole = (size > 0).all(-1)
    roots = np.sqrt(np.where(whole, size[..., 0] * size[..., 1], 1.0))
    sums = activation_sums(maps, boxes, heights, widths, linear=linear)
    scores = np.where(whole, sums / roots, -1.0)
    best = scores.argmax(1)
    each = np.arange(len(best))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums[each, best] / totals
    rows = zip(best.tolist(), scores[each, best].tolist(), shares.tolist(), totals.tolist())
    return [Choice(index, score, share) if total > 0 and score >= 0 else None for index, score, share, total in rows]


def _further(left: np.ndarray, boxes: np.ndarray, chosen: list[Choice], most: int, min_share: float, options: dict):
    """The second box of one pair and those after it, each for what the ones before it leave of the activation."""
    found: list[Choice] = []
    rows, columns = left.shape
    total = left.mean(keepdims=True)[0] * options["heights"] * options["widths"]
    while chosen and 0 < len(found) + 1 < most:
        x0, y0, x1, y1 = boxes[(chosen + found)[-1].index]
        y = np.clip(np.array([y0, y1]) * rows / options["heights"], 0, rows)
        x = np.clip(np.array([x0, x1]) * columns / options["widths"], 0, columns)
        covered = interval_weights(y[0], y[1], rows)[:, None] * interval_weights(x[0], x[1], columns)
        left = left * (1 - covered)
        [choice] = _best(left[None], boxes[None], total, **options)
        if choice is None or choice.share < min_share:
            break
        found.append(choice)
    return found
