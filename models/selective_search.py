"""Box proposals without learning: selective search (Uijlings et al., 2013), by OpenCV."""

import ctypes

import cv2
import numpy as np

_LIBC = ctypes.CDLL(None)


def selective_search(image: np.ndarray, *, mode: str, min_side: int, max_boxes: int, seed: int, base_k: int = 150):
    """Boxes that may hold an object, most promising first.

    image: height x width x 3 uint8 RGB; mode: "fast" or "quality"; min_side: pixels, shorter boxes are dropped;
    base_k: scale of the first segments, larger gives fewer; seed: OpenCV shuffles the ranks by C's rand().
    Returns N x 4 float32, xyxy pixels, distinct, and N float32 scores from 1 down.
    """
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    if mode == "fast":
        search.switchToSelectiveSearchFast(base_k, base_k)
    else:
        search.switchToSelectiveSearchQuality(base_k, base_k)
    _LIBC.srand(seed)
    found = search.process()
    boxes = np.asarray(found, np.float32).reshape(-1, 4)
    boxes = boxes[(boxes[:, 2:] >= min_side).all(1)][:max_boxes]
    boxes[:, 2:] += boxes[:, :2]
    return boxes, np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)
