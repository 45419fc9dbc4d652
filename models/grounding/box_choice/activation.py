"""Choosing boxes by activation (Mask-free OVIS, Eq. 6):  b* = argmax over proposals of (sum of Phi inside b) / sqrt|b|.

A box is the product of two intervals, so the sum of a map over it is a product as well: r A c, with the weights that
the box's rows and columns give to the cells of A. Many pairs of a map and a list of boxes are three batched products.
"""

from collections.abc import Callable

import numpy as np

from models.grounding.box_choice.interface import Choice

_PAIRS = 64  # scored at once: what they need stays in a core's cache


def interval_weights(start: np.ndarray, end: np.ndarray, cells: int, *, linear: bool = False) -> np.ndarray:
    """How much of each of `cells` unit cells an interval start..end (in cells, inside 0..cells) takes.

    Of one enlarged by nearest neighbour: the length that it covers of the cell. linear: of one read linearly between
    the centres of cells, and constantly beyond the outer ones: the integral over the interval of the cell's hat
    function. start, end: [...]; returns [..., cells] float64 whose sum is the interval's length.
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


def choose(
    activations: np.ndarray,
    boxes: np.ndarray,
    *,
    heights: np.ndarray,
    widths: np.ndarray,
    instances: np.ndarray | int = 1,
    interpolation: str = "nearest",
    min_share: float = 0.0,
) -> list[list[Choice]]:
    """See models.grounding.box_choice.interface: the best box by Eq. 6, and further ones for what activation is left.

    interpolation: "nearest" is OVIS's (Fig. 12); min_share: of the whole activation that a further box must
    hold. Nothing is chosen where the activation is zero everywhere or no box has an area.
    """
    sizes = {"heights": heights, "widths": widths, "instances": instances}
    return choose_by(density, activations, boxes, **sizes, interpolation=interpolation, min_share=min_share)


def density(sums: np.ndarray, areas: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Eq. 6: the activation inside over the square root of the area. sums, areas: [P, N]; totals: [P, 1], pixels."""
    return sums / np.sqrt(areas)


def choose_by(
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    activations: np.ndarray,
    boxes: np.ndarray,
    *,
    heights: np.ndarray,
    widths: np.ndarray,
    instances: np.ndarray | int,
    interpolation: str,
    min_share: float,
) -> list[list[Choice]]:
    """As choose, by any score of the activation inside a box [P, N], its area [P, N] and the whole activation [P, 1], in
    pixels."""
    if interpolation not in ("nearest", "linear"):
        raise ValueError(f"interpolation {interpolation!r}: nearest or linear")
    linear = interpolation == "linear"
    counts = np.broadcast_to(instances, len(activations))
    choices: list[list[Choice]] = []
    for first in range(0, len(activations), _PAIRS):
        part = slice(first, first + _PAIRS)
        maps, rects = activations[part].astype(np.float64), boxes[part].astype(np.float64)
        sizes = {"heights": heights[part], "widths": widths[part]}
        choices += [[best] if best else [] for best in _best(score, maps, rects, **sizes, linear=linear)]
        for i in np.flatnonzero(counts[part] > 1):
            size = {name: values[i : i + 1] for name, values in sizes.items()}
            choices[first + i] += _further(
                score, maps[i], rects[i], choices[first + i], counts[first + i], min_share, **size, linear=linear
            )
    return choices


def _best(
    score: Callable,
    maps: np.ndarray,
    boxes: np.ndarray,
    totals: np.ndarray | None = None,
    *,
    heights,
    widths,
    linear: bool,
) -> list[Choice | None]:
    """The best box of each pair; totals: [P], the whole activation of which shares are taken, in pixels."""
    left = maps.mean((1, 2)) * heights * widths
    if totals is None:
        totals = left
    sides = boxes[..., 2:] - boxes[..., :2]
    has_area = (sides > 0).all(-1)
    areas = np.where(has_area, sides[..., 0] * sides[..., 1], 1.0)
    sums = activation_sums(maps, boxes, heights, widths, linear=linear)
    scores = np.where(has_area, score(sums, areas, left[:, None]), -1.0)
    best = scores.argmax(1)
    each = np.arange(len(best))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums[each, best] / totals
    rows = zip(best.tolist(), scores[each, best].tolist(), shares.tolist(), totals.tolist())
    return [Choice(index, score, share) if total > 0 and score >= 0 else None for index, score, share, total in rows]


def _further(
    score: Callable,
    left: np.ndarray,
    boxes: np.ndarray,
    choices: list[Choice],
    instances: int,
    min_share: float,
    *,
    heights,
    widths,
    linear: bool,
) -> list[Choice]:
    """The second box of one pair and those after it, each for what the ones before it leave of the activation.

    A loop, for each box depends on the one before; only plural nouns come here.
    """
    further: list[Choice] = []
    rows, columns = left.shape
    total = left.mean(keepdims=True)[0] * heights * widths
    while choices and len(further) + 1 < instances:
        x0, y0, x1, y1 = boxes[(choices + further)[-1].index]
        y = np.clip(np.array([y0, y1]) * rows / heights, 0, rows)
        x = np.clip(np.array([x0, x1]) * columns / widths, 0, columns)
        covered = interval_weights(y[0], y[1], rows)[:, None] * interval_weights(x[0], x[1], columns)
        left = left * (1 - covered)
        [best] = _best(score, left[None], boxes[None], total, heights=heights, widths=widths, linear=linear)
        if best is None or best.share < min_share:
            break
        further.append(best)
    return further
