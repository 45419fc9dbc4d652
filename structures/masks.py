"""Masks as COCO's run-length code (RLE), by pycocotools: from pixels, to pixels, and their overlap."""

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


def iou(segmentation: dict, other: dict) -> float:
    """Intersection over union, in pixels, of two RLE masks of one size; 0 where both are empty. Raises ValueError."""
    if list(segmentation["size"]) != list(other["size"]):
        raise ValueError(f"masks of {list(segmentation['size'])} and {list(other['size'])} pixels don't compare")
    return float(coco_mask.iou([segmentation], [other], [0])[0, 0])
