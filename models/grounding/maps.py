"""Activation maps as the table gradcam holds them, their union (OVIS, Eq. 4), and what sets a noun's apart from those of the
picture's other nouns (ours)."""

from collections.abc import Sequence

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


def set_apart(activations: Sequence[np.ndarray], *, others: float, power: float) -> list[np.ndarray]:
    """Each noun's activation of a picture [h, w], at least 0, less what other nouns activate as well: (Phi - others max Phi')^power
    where that is positive, its largest value 1.

    activations: of all nouns of the picture; others: share of the largest of the other nouns' activations, 0 for none of it
    (of the noun's class and not of its rivals: CLIP-ES, Lin et al., 2023, 3.2, asks the like of the scores); power: above 1 what
    is little activated counts less. With 0 and 1 they come back as they are; so does one of which nothing would be left.
    """
    if others == 0 and power == 1:
        return list(activations)
    apart = []
    for i, activation in enumerate(activations):
        rivals = [rival for j, rival in enumerate(activations) if j != i]
        left = np.maximum(activation - others * np.max(rivals, axis=0), 0) if rivals else activation
        left = left if left.any() else activation
        apart.append((left / left.max()) ** power if left.any() else left)
    return apart


def activations_of_nouns(
    rows: Sequence[dict], *, union: str, threshold: float, others: float, power: float
) -> dict[str, np.ndarray]:
    """{category: activation [h, w] float32} of a picture's rows of `gradcam`; the numbers: as for united and set_apart."""
    phis = [united(activation_maps(row), union=union, threshold=threshold) for row in rows]
    return dict(zip((row["category"] for row in rows), set_apart(phis, others=others, power=power)))


def enlarged(activation: np.ndarray, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """An activation [h, w] over a whole picture at its height and width in pixels. interpolation: "nearest" (OVIS, Fig. 12:
    no value that the cells have not) or "linear"."""
    if interpolation not in ("nearest", "linear"):
        raise ValueError(f"interpolation {interpolation!r}: nearest or linear")
    enlarge = cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR
    return cv2.resize(activation, (width, height), interpolation=enlarge)
