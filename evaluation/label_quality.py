"""How good maps, proposals and pseudo-masks are against the truth; for measuring, never for making them."""

import cv2
import numpy as np
import pandas as pd


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks of one shape; 0 where both are empty."""
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 0.0


def best_iou(mask: np.ndarray, truths: list[np.ndarray]) -> float:
    """The largest IoU of a mask with any of several true ones; 0 where there is none."""
    return max((iou(mask, truth) for truth in truths), default=0.0)


def rank_correlation(a, b) -> float:
    """Spearman's, of two columns of numbers, ties at their mean rank; 0 where one of them is constant or too short."""
    ranks = pd.DataFrame({"a": a, "b": b}).rank()
    value = ranks["a"].corr(ranks["b"]) if len(ranks) > 1 else 0.0
    return float(value) if np.isfinite(value) else 0.0


def map_mask(grid: np.ndarray, shape: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """A map of cells (0..1) as a mask of a picture's shape, enlarged by nearest neighbour (OVIS, Fig. 12)."""
    return cv2.resize(grid.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST) > threshold


def covered(mask: np.ndarray, truth: np.ndarray) -> float:
    """The share of the truth that a mask covers."""
    return np.count_nonzero(mask & truth) / max(1, np.count_nonzero(truth))


def _cells_touching(shape: tuple[int, int], truth: np.ndarray) -> np.ndarray:
    """Which of h x w cells hold at least one pixel of the truth."""
    ys, xs = np.nonzero(truth)
    touching = np.zeros(shape, bool)
    touching[ys * shape[0] // truth.shape[0], xs * shape[1] // truth.shape[1]] = True
    return touching


def points_at(grid: np.ndarray, truth: np.ndarray) -> bool:
    """Whether the most activated cell touches the truth."""
    return bool(_cells_touching(grid.shape, truth).flat[int(grid.argmax())])


def pointing_chance(shape: tuple[int, int], truth: np.ndarray) -> float:
    """How often a cell taken blindly would touch the truth."""
    return float(_cells_touching(shape, truth).mean())


def box_recall(boxes: np.ndarray, bbox: np.ndarray, threshold: float = 0.5) -> bool:
    """Whether any of N boxes (xyxy) meets a true box (xywh) with an IoU of at least the threshold."""
    if len(boxes) == 0:
        return False
    x, y, w, h = bbox
    wide = np.minimum(boxes[:, 2], x + w) - np.maximum(boxes[:, 0], x)
    tall = np.minimum(boxes[:, 3], y + h) - np.maximum(boxes[:, 1], y)
    both = np.clip(wide, 0, None) * np.clip(tall, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return bool((both / (areas + w * h - both)).max() >= threshold)
