"""Selective search: repeatable, and it finds a square."""

import numpy as np

from models.label_scores import box_recall
from models.selective_search import selective_search


def test_selective_search_is_repeatable_and_finds_a_square():
    image = np.full((80, 100, 3), 200, np.uint8)
    image[20:50, 30:70] = (200, 30, 30)
    options = {"mode": "fast", "min_side": 5, "max_boxes": 100, "seed": 3, "base_k": 150}
    boxes, scores = selective_search(image, **options)
    np.testing.assert_array_equal(boxes, selective_search(image, **options)[0])
    assert box_recall(boxes, [30, 20, 40, 30], 0.9) and (np.diff(scores) < 0).all()
