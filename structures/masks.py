"""Masks as COCO's run-length code, and back."""

import numpy as np
from pycocotools import mask as coco_mask


def encode(mask: np.ndarray) -> dict:
    """A height x width mask (bool or 0/1 uint8) as {"size": [height, width], "counts": compressed str}."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(segmentation: dict) -> np.ndarray:
    """COCO RLE to a height x width bool mask."""
    size = [int(v) for v in segmentation["size"]]
    return coco_mask.decode({"size": size, "counts": segmentation["counts"]}).astype(bool)
