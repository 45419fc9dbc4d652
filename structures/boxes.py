"""Formats of boxes: xyxy (left, top, right, bottom) and COCO's xywh (left, top, width, height), both in pixels.

Right and bottom are the edges of the box, so that width = right - left: a box around the pixel (0, 0) is 0, 0, 1, 1.
"""

import numpy as np
from numpy.typing import ArrayLike


def xyxy_to_xywh(boxes: ArrayLike) -> np.ndarray:
    """... x 4 boxes, xyxy to xywh: a new array of the same shape and dtype."""
    boxes = np.array(boxes)
    boxes[..., 2:] -= boxes[..., :2]
    return boxes


def xywh_to_xyxy(boxes: ArrayLike) -> np.ndarray:
    """... x 4 boxes, xywh to xyxy: a new array of the same shape and dtype."""
    boxes = np.array(boxes)
    boxes[..., 2:] += boxes[..., :2]
    return boxes
