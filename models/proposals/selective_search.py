"""Box proposals without learning: selective search (Uijlings et al., 2013), of OpenCV's parts or by a package.

OpenCV's own fast mode runs each of its two strategies twice, and most of its time goes into histograms of texture. The
quick mode groups by size and fill alone, on a picture of at most 320 pixels, from small segments: on photographs it
finds more objects at a tenth of the time. The package mode is PyPI's `selectivesearch` as it stands.
"""

import ctypes
import warnings
from collections.abc import Callable

import cv2
import numpy as np

from structures.boxes import xywh_to_xyxy

_LIBC = ctypes.CDLL(None)
_PARTS = cv2.ximgproc.segmentation
_QUICK_SIDE = 320  # pixels of the longer side that the quick mode looks at
_QUICK_K, _OPENCV_K = 75, 150  # scale of the first segments
_QUICK_SIGMA, _QUICK_MIN_SIZE = 0.5, 25  # blur and least pixels of a segment, for graph segments


def selective_search(
    image: np.ndarray, *, mode: str, min_side: int, max_boxes: int, seed: int, **options
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that may hold an object, in the mode's order.

    image: height x width x 3 uint8 RGB; mode: of MODES; min_side: pixels, boxes with a shorter side are dropped;
    max_boxes: the first so many are kept; seed: OpenCV shuffles the ranks by C's rand(); options: those of the mode's
    own function below, by name. Returns N x 4 float32, xyxy pixels, distinct, and N float32 scores from 1 down.
    """
    _LIBC.srand(seed)
    boxes = MODES[mode](image, **options)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= min_side).all(1)][:max_boxes]
    return boxes, np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)


def quick(image: np.ndarray, *, base_k: int = 0) -> np.ndarray:
    """N x 4 float32 xyxy, most promising first: two colour spaces, two scales of segments, grouped by size and fill.

    base_k: scale of the first segments, larger gives fewer; 0 is 75.
    """
    scale = min(1.0, _QUICK_SIDE / max(image.shape[:2]))
    bgr = np.ascontiguousarray(image[..., ::-1])
    if scale < 1:
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    search = _PARTS.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    for space in (cv2.COLOR_BGR2HSV, cv2.COLOR_BGR2LAB):
        search.addImage(cv2.cvtColor(bgr, space))
    k = base_k or _QUICK_K
    for segment_k in (k, 2 * k):
        search.addGraphSegmentation(_PARTS.createGraphSegmentation(_QUICK_SIGMA, segment_k, _QUICK_MIN_SIZE))
    search.addStrategy(
        _PARTS.createSelectiveSearchSegmentationStrategyMultiple(
            _PARTS.createSelectiveSearchSegmentationStrategyFill(),
            _PARTS.createSelectiveSearchSegmentationStrategySize(),
        )
    )
    across, down = image.shape[1] / bgr.shape[1], image.shape[0] / bgr.shape[0]
    return _process(search) * np.array([across, down, across, down], np.float32)


def opencv_fast(image: np.ndarray, *, base_k: int = 0) -> np.ndarray:
    """OpenCV's fast strategies: N x 4 float32 xyxy, most promising first; base_k as of quick, 0 is OpenCV's own 150."""
    k = base_k or _OPENCV_K
    search = _opencv(image)
    search.switchToSelectiveSearchFast(k, k)
    return _process(search)


def opencv_quality(image: np.ndarray, *, base_k: int = 0) -> np.ndarray:
    """OpenCV's quality strategies: as opencv_fast, with more of them, so more boxes in more time."""
    k = base_k or _OPENCV_K
    search = _opencv(image)
    search.switchToSelectiveSearchQuality(k, k)
    return _process(search)


def package(image: np.ndarray, *, scale: float = 500, sigma: float = 0.9, min_size: int = 10) -> np.ndarray:
    """PyPI's `selectivesearch`: N x 4 float32 xyxy, in its order, first segments before what they merge to.

    scale, sigma, min_size: of the first segments (Felzenszwalb and Huttenlocher, 2004): a larger scale gives larger
    ones; blur; least pixels. The defaults are of the package's example. It draws no random numbers. Its rectangles end
    at their last pixel, boxes at that pixel's edge, so one is added to their widths and heights; a rectangle that
    several regions share counts once, where it comes first.
    """
    import selectivesearch  # here: a third of a second and 40 MiB, which the other modes do without

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Applying `local_binary_pattern` to floating-point images")
        _, regions = selectivesearch.selective_search(image, scale=scale, sigma=sigma, min_size=min_size)
    rectangles = np.array(list(dict.fromkeys(region["rect"] for region in regions)), np.float32)
    return xywh_to_xyxy(rectangles) + np.array([0, 0, 1, 1], np.float32)


MODES: dict[str, Callable[..., np.ndarray]] = {
    "quick": quick,
    "fast": opencv_fast,
    "quality": opencv_quality,
    "package": package,
}


def _opencv(image: np.ndarray):
    search = _PARTS.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    return search


def _process(search) -> np.ndarray:
    """The boxes that a search gives, N x 4 float32 xyxy of the picture that it looked at."""
    return xywh_to_xyxy(np.asarray(search.process(), np.float32).reshape(-1, 4))
