"""Choosing boxes by how well they overlap what is activated: an intersection over union whose one set is soft (ours).

    b* = argmax over proposals of  S / (k |b| + T - S),   S = sum of Phi inside b,  T = sum of Phi over the picture

It is the Jaccard index of a box and the activation where every pixel of the box counts k: maps are blurred and lie low
over most of an object, so that k below 1 is the level at which a pixel is more of the object than not. Eq. 6 of Mask-free
OVIS, S / sqrt|b|, does not miss what a box leaves out, and so prefers parts.
"""

from functools import partial

import numpy as np

from models.grounding.box_choice.activation import activation_sums, choose_by
from models.grounding.box_choice.interface import Choice


def soft_overlap(sums: np.ndarray, areas: np.ndarray, totals: np.ndarray | float, *, area_weight: float) -> np.ndarray:
    """The overlap above of boxes or masks, in 0..1/area_weight, of the shape of sums and areas.

    sums: of the activation inside; areas, totals: of the region, of the activation over the picture; all in pixels;
    area_weight: k.
    """
    return sums / np.maximum(area_weight * areas + np.maximum(totals - sums, 0), 1e-9)


def overlaps_of_boxes(
    activation: np.ndarray, boxes: np.ndarray, size: tuple[int, int], *, area_weight: float, linear: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of boxes [n, 4] xyxy pixels the soft overlap [n] with an activation [h, w], at least 0, of a picture of this height and
    width, and the share [n] of the activation that lies inside. linear: how it is enlarged."""
    height, width = size
    sizes = np.array([height]), np.array([width])
    [inside] = activation_sums(
        activation[None].astype(np.float64), boxes[None].astype(np.float64), *sizes, linear=linear
    )
    total = activation.mean() * height * width
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return soft_overlap(inside, areas, total, area_weight=area_weight), inside / max(total, 1e-9)


def choose(
    activations: np.ndarray,
    boxes: np.ndarray,
    *,
    heights: np.ndarray,
    widths: np.ndarray,
    instances: np.ndarray | int = 1,
    interpolation: str = "nearest",
    area_weight: float = 0.5,
    min_share: float = 0.0,
) -> list[list[Choice]]:
    """See models.grounding.box_choice.interface: the best box by the soft overlap, and further ones for what activation is
    left.

    area_weight: k above, positive; min_share: of the whole activation that a further box must hold. Nothing is chosen where
    the activation is zero everywhere or no box has an area.
    """
    overlap = partial(soft_overlap, area_weight=area_weight)
    sizes = {"heights": heights, "widths": widths, "instances": instances}
    return choose_by(overlap, activations, boxes, **sizes, interpolation=interpolation, min_share=min_share)
