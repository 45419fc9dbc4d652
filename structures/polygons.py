"""Masks as polygons, holes and parts joined by cuts of no width, for formats that know neither.

Two kinds, for the two ways that others fill them: `edge_polygons` run along the edges of pixels, as pycocotools fills
them, exactly; `centre_polygon` runs through the centres of the outermost pixels, which OpenCV's fillPoly paints as well.
"""

from collections.abc import Iterator

import cv2
import numpy as np

MAX_HOLES = 100  # of a mask; each cut looks for the nearest of all corners
_MAX_PARTS = 100  # that are considered to be joined
_SAMPLES = 200  # corners of a part by which distances of parts are measured


def edge_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """One polygon a part of a height x width bool mask, N x 2 float64 corners x, y between pixels, largest part first; a hole
    is cut open to the outline around it. Pixels that touch at a corner alone are two parts.

    Raises ValueError for more than MAX_HOLES holes.
    """
    parts: dict[int, list[np.ndarray]] = {}
    for part, corners in _loops(mask):
        parts.setdefault(part, []).append(corners)
    if sum(len(loops) - 1 for loops in parts.values()) > MAX_HOLES:
        raise ValueError(f"more than {MAX_HOLES} holes")
    outlines = []
    for loops in parts.values():
        outer, *holes = sorted(loops, key=lambda corners: -abs(_signed_area(corners)))
        for hole in holes:
            outer = _cut(outer, hole)
        outlines.append(outer.astype(np.float64))
    return sorted(outlines, key=lambda corners: -abs(_signed_area(corners)))


def centre_polygon(mask: np.ndarray) -> np.ndarray:
    """One polygon of a height x width bool mask that is not empty, N x 2 int32 pixels x, y, for fillPoly.

    Of the holes the MAX_HOLES largest are cut open, the others filled. A further part is joined by a line, which fillPoly
    paints: one that has fewer pixels than the line to it is left out.
    """
    loops, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    loops = [loop[:, 0] for loop in loops]
    above = hierarchy[0, :, 3]
    holes = sorted(np.flatnonzero(above >= 0), key=lambda i: -cv2.contourArea(loops[i]))[:MAX_HOLES]
    of_part: dict[int, list[np.ndarray]] = {int(i): [] for i in np.flatnonzero(above < 0)}
    for hole in holes:
        of_part[int(above[hole])].append(loops[hole])
    sizes = {part: _pixels(loops[part]) for part in of_part}
    parts = sorted(of_part, key=lambda part: -sizes[part])[:_MAX_PARTS]
    outlines = []
    for part in parts:
        outline = loops[part]
        for hole in of_part[part]:
            outline = _cut(outline, hole)
        outlines.append((outline, sizes[part]))
    (joined, _), *rest = outlines
    samples = [_sampled(outline) for outline, _ in rest]
    gaps = [_gap(_sampled(joined), sample) for sample in samples]
    waiting = list(range(len(rest)))
    while waiting:
        nearest = min(waiting, key=lambda i: gaps[i])
        waiting.remove(nearest)
        outline, size = rest[nearest]
        if gaps[nearest] > size:
            continue
        joined = _cut(joined, outline)
        for i in waiting:
            gaps[i] = min(gaps[i], _gap(samples[nearest], samples[i]))
    return joined.astype(np.int32)


def _cut(outline: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One loop of two: from the outline's corner that is nearest to the other, there, around it, and back."""
    squares = ((outline[:, None].astype(np.int64) - other[None]) ** 2).sum(2)
    i, j = np.unravel_index(squares.argmin(), squares.shape)
    around = np.concatenate([other[j:], other[: j + 1]])
    return np.concatenate([outline[: i + 1], around, outline[i:]])


def _pixels(loop: np.ndarray) -> int:
    """Pixels inside a loop, and on it."""
    corner = loop.min(0)
    canvas = np.zeros((loop.max(0) - corner + 1)[::-1], np.uint8)
    cv2.fillPoly(canvas, [(loop - corner).astype(np.int32)], 1)
    return int(canvas.sum())


def _sampled(corners: np.ndarray) -> np.ndarray:
    return corners[:: max(1, len(corners) // _SAMPLES)]


def _gap(corners: np.ndarray, others: np.ndarray) -> float:
    """The distance of the nearest two."""
    return float(np.sqrt(((corners[:, None].astype(np.int64) - others[None]) ** 2).sum(2).min()))


def _signed_area(corners: np.ndarray) -> float:
    x, y = corners[:, 0].astype(np.float64), corners[:, 1].astype(np.float64)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _loops(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(part, corners) of every loop of pixel edges around the parts of a mask and around their holes.

    An edge runs clockwise around its pixel. Where four edges meet, the way goes on around the same pixel, so that parts
    that touch at a corner are two.
    """
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    around, width = np.pad(parts, 1), mask.shape[1] + 1  # width: of a row of corners
    part_of: dict[int, int] = {}  # edge, 4 * the corner where it starts + its side of the pixel: part
    for side, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):  # top, right, bottom, left
        y, x = np.nonzero((parts > 0) & (np.roll(around, (-down, -right), (0, 1))[1:-1, 1:-1] == 0))
        starts = (y + (side > 1)) * width + x + (side in (1, 2))
        part_of.update(zip((4 * starts + side).tolist(), parts[y, x].tolist()))
    steps = (1, width, -1, -width)  # from a corner to the next, by side
    while part_of:
        edge, part = part_of.popitem()
        begin, loop = edge, []
        while True:
            corner, side = edge // 4 + steps[edge % 4], edge % 4
            turns = (4 * corner + (side + turn) % 4 for turn in (1, 0, 3))
            following = next(turn for turn in turns if turn in part_of or turn == begin)
            if following % 4 != side:
                loop.append(corner)
            if following == begin:
                break
            del part_of[following]
            edge = following
        corners = np.array(loop, np.int64)
        yield part, np.stack([corners % width, corners // width], 1)
