"""Detections as plain values: COCO's box and run-length mask of each."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from structures.masks import encode


def detection_rows(found: dict[str, Tensor], names: Sequence[str]) -> Iterator[dict]:
    """category, score, bbox (xywh pixels), segmentation (COCO RLE) of what a detector found in one picture, best first.

    found: boxes [n, 4] xyxy, labels [n] (index into names), scores [n], masks [n, h, w] bool.
    """
    masks = found["masks"].cpu().numpy().astype(np.uint8)
    for label, score, (x0, y0, x1, y1), mask in zip(
        found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), masks
    ):
        yield {
            "category": names[label],
            "score": score,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": encode(mask),
        }
