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


def read_box(box: object, height: int, width: int) -> list[float]:
    """What a COCO JSON holds as an object's `bbox`: xywh, pixels. height, width: of its picture.

    Raises ValueError where it is not four numbers, is of negative size, or reaches further outside than the picture is long.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
        raise ValueError(f"bbox is {str(box)[:60]}, wanted four numbers: left, top, width, height")
    x, y, w, h = box
    if not (-width <= x and w >= 0 and x + w <= 2 * width and -height <= y and h >= 0 and y + h <= 2 * height):
        raise ValueError(f"bbox {box} is no box in {width} x {height} pixels")
    return [float(v) for v in box]
