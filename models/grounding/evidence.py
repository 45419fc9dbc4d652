"""What speaks for a pseudo-label without any truth (ours): how far its box is ahead of others, how steadily the maps of an
image-text model stay inside it, and whether a detector finds it again.

A measure alone says little; confidence is made of the ranks of several (stages/pseudo_labels.py).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.ops import box_iou

from models.grounding.box_choice.activation import activation_sums
from models.grounding.box_choice.soft_overlap import overlaps_of_boxes
from structures.masks import iou

_SAME = 0.5  # IoU from which two boxes are of one object


def margin(
    activation: np.ndarray,
    box: np.ndarray,
    proposals: np.ndarray,
    size: tuple[int, int],
    *,
    area_weight: float,
    linear: bool,
) -> float:
    """How much better a box overlaps its noun's activation than the best proposal elsewhere: 1 where no other does at all, 0
    where one does as well, below where one does better, at least -1.

    activation: [h, w], at least 0; box [4], proposals [n, 4]: xyxy pixels; size: height and width in pixels; area_weight: as
    in models.grounding.box_choice.soft_overlap; linear: how the activation is enlarged.
    """
    [ious] = box_iou(torch.tensor(box[None]), torch.tensor(proposals)).numpy()
    elsewhere = proposals[ious < _SAME]
    boxes = np.concatenate([box[None], elsewhere])
    overlaps, _ = overlaps_of_boxes(activation, boxes, size, area_weight=area_weight, linear=linear)
    if overlaps[0] <= 0:
        return -1.0
    return float(max(-1.0, 1 - overlaps[1:].max(initial=0) / overlaps[0]))


def stability(maps: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> float:
    """The least share, of all maps [G, h, w] of a noun (each iteration of masking makes one), that lies inside the box [4],
    xyxy pixels of a picture of this height and width; 0 to 1. A map that is zero everywhere counts for nothing."""
    maps = maps[maps.any((1, 2))].astype(np.float64)
    if not len(maps):
        return 0.0
    height, width = size
    boxes = np.broadcast_to(box.astype(np.float64), (len(maps), 1, 4))
    inside = activation_sums(maps, boxes, np.full(len(maps), height), np.full(len(maps), width))[:, 0]
    return float(min(1.0, (inside / (maps.mean((1, 2)) * height * width)).min()))


def found_again(segmentation: dict, detections: Sequence[tuple[float, dict]]) -> tuple[float, float]:
    """The largest score x IoU, and the largest IoU, of a mask (RLE) with what a detector found of its noun, (score, RLE) each;
    0 for nothing."""
    ious = [(score, iou(segmentation, other)) for score, other in detections]
    return max((score * value for score, value in ious), default=0.0), max((value for _, value in ious), default=0.0)
