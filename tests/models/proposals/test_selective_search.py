"""Selective search: repeatable, and it finds a square."""

import numpy as np
import pytest

from evaluation.label_quality import box_recall
from models.proposals.selective_search import selective_search


@pytest.mark.parametrize("mode", ["quick", "fast"])
def test_selective_search_is_repeatable_and_finds_a_square(mode):
    image = np.full((80, 100, 3), 200, np.uint8)
    image[20:50, 30:70] = (200, 30, 30)
    options = {"mode": mode, "min_side": 5, "max_boxes": 100, "seed": 3}
    boxes, scores = selective_search(image, **options)
    np.testing.assert_array_equal(boxes, selective_search(image, **options)[0])
    assert box_recall(boxes, [30, 20, 40, 30], 0.9) and (np.diff(scores) < 0).all()


def test_boxes_of_a_large_picture_are_in_its_own_pixels():
    image = np.full((480, 1280, 3), 200, np.uint8)
    image[80:320, 800:1200] = (200, 30, 30)
    boxes, _ = selective_search(image, mode="quick", min_side=20, max_boxes=100, seed=3)
    assert box_recall(boxes, [800, 80, 400, 240], 0.95)
    assert boxes.min() >= 0 and (boxes[:, 2] <= 1280).all() and (boxes[:, 3] <= 480).all()
