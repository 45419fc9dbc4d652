"""Pseudo-masks corrupted on purpose, to see what a student makes of noise: shifted, another object's, or blown up."""

import numpy as np

KINDS = ("shifted", "swapped", "blown_up")


def shifted(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The mask and its box moved by half the box in a random direction, as a region that was aligned badly. mask: bool
    [h, w]; box: xyxy pixels; both are cut at the picture's border."""
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = (round(float(0.5 * side * turn)) for side, turn in zip(box[2:] - box[:2], (np.cos(angle), np.sin(angle))))
    moved = np.zeros_like(mask)
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    ys, xs = ys + dy, xs + dx
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    moved[ys[inside], xs[inside]] = True
    limits = np.array([width, height] * 2, np.float32)
    return moved, np.clip(box + np.array([dx, dy, dx, dy], np.float32), 0, limits)


def blown_up(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The whole of the box, grown by half of its sides, as the mask."""
    height, width = mask.shape
    centre, half = (box[:2] + box[2:]) / 2, 0.75 * (box[2:] - box[:2])
    limits = np.array([width, height], np.float32)
    grown = np.concatenate([(centre - half).clip(0, limits - 1), (centre + half).clip(1, limits)]).astype(np.float32)
    full = np.zeros_like(mask)
    x0, y0, x1, y1 = grown.round().astype(int)
    full[y0:y1, x0:x1] = True
    return full, grown
