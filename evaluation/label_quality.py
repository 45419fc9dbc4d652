"""How good maps, proposals and pseudo-masks are against the ground truth; for measuring, never for making them."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from structures.boxes import xywh_to_xyxy
from structures.masks import iou


def best_iou(segmentation: dict, segmentations: Sequence[dict]) -> float:
    """The largest IoU of a mask with any of several true ones (RLE of one size); 0 where there is none."""
    return max((iou(segmentation, truth) for truth in segmentations), default=0.0)


def match_instances(masks: Sequence[dict], truth: Sequence[dict], threshold: float = 0.5) -> int:
    """How many of the masks, best first, meet a true one that none before them met, with an IoU of at least the threshold
    (RLE of one size), as COCO's evaluation matches detections."""
    left = list(truth)
    for mask in masks:
        overlaps = [iou(mask, other) for other in left]
        if overlaps and max(overlaps) >= threshold:
            left.pop(int(np.argmax(overlaps)))
    return len(truth) - len(left)


def threshold_map(activation: np.ndarray, shape: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Where h x w cells (0..1) exceed the threshold, as a bool mask of a picture's shape (height, width).

    Cells are enlarged by nearest neighbour (OVIS, Fig. 12).
    """
    return cv2.resize(activation.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST) > threshold


def coverage(mask: np.ndarray, truth: np.ndarray) -> float:
    """The share of the true pixels that a mask of the same shape covers (both bool); 0 where there are none."""
    return np.count_nonzero(mask & truth) / max(1, np.count_nonzero(truth))


def _cells_touching(shape: tuple[int, int], truth: np.ndarray) -> np.ndarray:
    """Which of h x w cells hold at least one true pixel."""
    ys, xs = np.nonzero(truth)
    touching = np.zeros(shape, bool)
    touching[ys * shape[0] // truth.shape[0], xs * shape[1] // truth.shape[1]] = True
    return touching


def pointing_hit(activation: np.ndarray, truth: np.ndarray) -> bool:
    """The pointing game: whether the most activated of h x w cells touches the truth (a bool mask of the picture)."""
    return bool(_cells_touching(activation.shape, truth).flat[int(activation.argmax())])


def pointing_chance(shape: tuple[int, int], truth: np.ndarray) -> float:
    """How often a cell taken blindly of h x w would touch the truth (a bool mask of the picture)."""
    return float(_cells_touching(shape, truth).mean())


def box_recall(boxes: np.ndarray, bbox: ArrayLike, threshold: float = 0.5) -> bool:
    """Whether any of N x 4 boxes (xyxy) meets a true box (xywh) with an IoU of at least the threshold."""
    if len(boxes) == 0:
        return False
    _, _, w, h = bbox
    x0, y0, x1, y1 = xywh_to_xyxy(bbox)
    widths = np.minimum(boxes[:, 2], x1) - np.maximum(boxes[:, 0], x0)
    heights = np.minimum(boxes[:, 3], y1) - np.maximum(boxes[:, 1], y0)
    intersections = np.clip(widths, 0, None) * np.clip(heights, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return bool((intersections / (areas + w * h - intersections)).max() >= threshold)
