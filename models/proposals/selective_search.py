"""Box proposals without learning: selective search (Uijlings et al., 2013), of OpenCV's parts.

OpenCV's own fast mode runs each of its two strategies twice, and most of its time goes into histograms of texture. The
quick mode groups by size and fill alone, on a picture of at most 320 pixels, from small segments: on photographs it finds
more objects at a tenth of the time.
"""

import ctypes

import cv2
import numpy as np

_LIBC = ctypes.CDLL(None)
_PARTS = cv2.ximgproc.segmentation
_QUICK_SIDE = 320  # pixels of the longer side that the quick mode looks at
_QUICK_SIGMA, _QUICK_LEAST = 0.5, 25  # blur and least pixels of a segment, for graph segments
_USUAL_K = {"quick": 75, "fast": 150, "quality": 150}


def selective_search(image: np.ndarray, *, mode: str, min_side: int, max_boxes: int, seed: int, base_k: int = 0):
    """Boxes that may hold an object, most promising first.

    image: height x width x 3 uint8 RGB; mode: "quick", or OpenCV's "fast" or "quality"; min_side: pixels, shorter boxes
    are dropped; base_k: scale of the first segments, larger gives fewer, 0 the mode's own; seed: OpenCV shuffles the
    ranks by C's rand(). Returns N x 4 float32, xyxy pixels, distinct, and N float32 scores from 1 down.
    """
    k = base_k or _USUAL_K[mode]
    search = _PARTS.createSelectiveSearchSegmentation()
    scale = min(1.0, _QUICK_SIDE / max(image.shape[:2])) if mode == "quick" else 1.0
    bgr = np.ascontiguousarray(image[..., ::-1])
    if scale < 1:
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    search.setBaseImage(bgr)
    if mode == "quick":
        _group_by_size_and_fill(search, bgr, k)
    elif mode == "fast":
        search.switchToSelectiveSearchFast(k, k)
    else:
        search.switchToSelectiveSearchQuality(k, k)
    _LIBC.srand(seed)
    boxes = np.asarray(search.process(), np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    across, down = image.shape[1] / bgr.shape[1], image.shape[0] / bgr.shape[0]
    boxes *= np.array([across, down, across, down], np.float32)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= min_side).all(1)][:max_boxes]
    return boxes, np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)


def _group_by_size_and_fill(search, bgr: np.ndarray, k: int) -> None:
    """Two colour spaces, two scales of segments, one strategy."""
    for space in (cv2.COLOR_BGR2HSV, cv2.COLOR_BGR2LAB):
        search.addImage(cv2.cvtColor(bgr, space))
    for scale in (k, 2 * k):
        search.addGraphSegmentation(_PARTS.createGraphSegmentation(_QUICK_SIGMA, scale, _QUICK_LEAST))
    search.addStrategy(
        _PARTS.createSelectiveSearchSegmentationStrategyMultiple(
            _PARTS.createSelectiveSearchSegmentationStrategyFill(),
            _PARTS.createSelectiveSearchSegmentationStrategySize(),
        )
    )
