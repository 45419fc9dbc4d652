"""Average precision of cases known by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from models.coco_scores import average_precision


def square(x, y, w, h, size=(40, 40)):
    mask = np.zeros(size, np.uint8)
    mask[y : y + h, x : x + w] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {
        "bbox": [x, y, w, h],
        "segmentation": {"size": list(size), "counts": rle["counts"].decode()},
        "area": w * h,
        "iscrowd": 0,
    }


def test_average_precision_of_a_case_known_by_hand():
    truth = [
        {"image_id": "a", "category": "cat", **square(0, 0, 20, 20)},
        {"image_id": "b", "category": "cat", **square(0, 0, 20, 20)},
    ]
    hit = {"image_id": "a", "category": "cat", "score": 0.9, **square(0, 0, 20, 20)}
    miss = {"image_id": "b", "category": "cat", "score": 0.95, **square(20, 20, 20, 20)}
    images = {"a": (40, 40), "b": (40, 40)}
    for kind in ("bbox", "segm"):
        assert average_precision(images, truth, [hit], ["cat"], kind)["AP50"] == pytest.approx(100 * 51 / 101)
        assert average_precision(images, truth, [hit, miss], ["cat"], kind)["AP50"] == pytest.approx(50 * 51 / 101)
        assert average_precision({"a": (40, 40)}, truth, [hit, miss], ["cat"], kind)["AP50"] == pytest.approx(100)
        assert average_precision(images, truth, [], ["cat"], kind)["AP50"] == 0
        assert average_precision(images, truth, [hit], ["dog"], kind)["AP50"] == -1
