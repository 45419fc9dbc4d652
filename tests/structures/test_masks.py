"""Run-length masks: there and back, and their overlap against pixels counted."""

import numpy as np
import pytest

from structures.masks import decode, encode, iou


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    blobs = [np.zeros((17, 23), bool) for _ in range(count)]
    for mask in blobs:
        y, x, height, width = rng.integers(1, 15, 4)
        mask[y : y + height, x : x + width] = rng.random(mask[y : y + height, x : x + width].shape) < 0.8
    return [*blobs, np.zeros((17, 23), bool), np.ones((17, 23), bool)]


def test_a_mask_comes_back_as_it_was():
    for mask in random_masks(10):
        for dtype in (bool, np.uint8):
            segmentation = encode(mask.astype(dtype))
            assert segmentation["size"] == [17, 23] and isinstance(segmentation["counts"], str)
            np.testing.assert_array_equal(decode(segmentation), mask)


def test_iou_is_exactly_that_of_the_pixels():
    masks = random_masks(40)
    for a in masks:
        for b in masks:
            union = np.count_nonzero(a | b)
            assert iou(encode(a), encode(b)) == (np.count_nonzero(a & b) / union if union else 0.0)


def test_masks_of_two_sizes_do_not_compare():
    with pytest.raises(ValueError, match=r"\[4, 5\] and \[5, 4\]"):
        iou(encode(np.ones((4, 5), bool)), encode(np.ones((5, 4), bool)))
