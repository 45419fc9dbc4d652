"""Activation maps as the table gradcam holds them, and their union (OVIS, Eq. 4)."""

import cv2
import numpy as np


def activation_maps(row: dict) -> np.ndarray:
    """The maps of a row of `gradcam`, [G, height, width] float32, each in 0..1."""
    return row["maps"].astype(np.float32).reshape(-1, row["height"], row["width"])


def united(maps: np.ndarray, *, union: str, threshold: float) -> np.ndarray:
    """Phi of Eq. 4: the union of G maps [G, height, width] in 0..1, as [height, width] float32.

    union "binary": each map is thresholded first, Phi is 0 or 1, as published; "soft": their maximum, in 0..1 (the
    threshold counts for nothing then).
    """
    if union not in ("binary", "soft"):
        raise ValueError(f"union {union!r}: binary or soft")
    highest = maps.max(0)
    return (highest > threshold).astype(np.float32) if union == "binary" else highest


def enlarged(activation: np.ndarray, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """An activation [h, w] over a whole picture at its height and width in pixels. interpolation: "nearest" (OVIS, Fig. 12:
    no value that the cells have not) or "linear"."""
    if interpolation not in ("nearest", "linear"):
        raise ValueError(f"interpolation {interpolation!r}: nearest or linear")
    enlarge = cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR
    return cv2.resize(activation, (width, height), interpolation=enlarge)
