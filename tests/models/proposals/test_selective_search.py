"""Selective search: repeatable, distinct, in the picture's pixels, and it finds a square in every mode."""

import numpy as np
import pytest
import selectivesearch

from evaluation.label_quality import box_recall
from models.proposals.selective_search import MODES, package, selective_search

LIMITS = {"min_side": 5, "max_boxes": 100, "seed": 3}


def picture(height: int = 80, width: int = 100) -> np.ndarray:
    """A red square of half the sides on grey ground with some noise."""
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 3))
    image = np.full((height, width, 3), 200)
    image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = (200, 30, 30)
    return (image + noise).astype(np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_selective_search_is_repeatable_and_finds_a_square(mode):
    boxes, scores = selective_search(picture(), mode=mode, **LIMITS)
    np.testing.assert_array_equal(boxes, selective_search(picture(), mode=mode, **LIMITS)[0])
    assert box_recall(boxes, [25, 20, 50, 40], 0.9)
    assert boxes.dtype == scores.dtype == np.float32 and boxes.shape == (len(scores), 4)
    assert scores[0] == 1 and (np.diff(scores) < 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_boxes_are_distinct_and_within_the_limits(mode):
    every, _ = selective_search(picture(), mode=mode, min_side=1, max_boxes=1000, seed=3)
    assert len(np.unique(every, axis=0)) == len(every)
    assert every.min() >= 0 and every[:, 2].max() <= 100 and every[:, 3].max() <= 80
    large, _ = selective_search(picture(), mode=mode, min_side=30, max_boxes=1000, seed=3)
    np.testing.assert_array_equal(large, every[(every[:, 2:] - every[:, :2] >= 30).all(1)])
    np.testing.assert_array_equal(selective_search(picture(), mode=mode, min_side=1, max_boxes=2, seed=3)[0], every[:2])


@pytest.mark.parametrize("mode", ["quick", "fast", "quality"])
def test_larger_first_segments_give_fewer_boxes(mode):
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    small, large = (
        selective_search(image, mode=mode, min_side=1, max_boxes=10_000, seed=3, base_k=base_k)[0]
        for base_k in (50, 5000)
    )
    assert len(large) < len(small)


def test_boxes_of_a_large_picture_are_in_its_own_pixels():
    image = np.full((480, 1280, 3), 200, np.uint8)
    image[80:320, 800:1200] = (200, 30, 30)
    boxes, _ = selective_search(image, mode="quick", min_side=20, max_boxes=100, seed=3)
    assert box_recall(boxes, [800, 80, 400, 240], 0.95)
    assert boxes.min() >= 0 and (boxes[:, 2] <= 1280).all() and (boxes[:, 3] <= 480).all()


def test_the_package_gives_its_own_regions_in_its_own_order():
    options = {"scale": 100, "sigma": 0.8, "min_size": 20}
    _, regions = selectivesearch.selective_search(picture(), **options)
    expected = []
    for region in regions:
        x, y, width, height = region["rect"]
        box = [x, y, x + width + 1, y + height + 1]  # its rectangles end at the last pixel
        if box not in expected:
            expected.append(box)
    assert len(expected) > 2
    boxes, _ = selective_search(picture(), mode="package", min_side=1, max_boxes=1000, seed=3, **options)
    assert boxes.tolist() == expected


def test_the_package_box_of_a_square_ends_where_the_square_ends():
    image = np.full((80, 100, 3), 200, np.uint8)
    image[20:60, 25:75] = (200, 30, 30)
    assert [25, 20, 75, 60] in package(image, scale=500, sigma=0, min_size=10).tolist()


def test_the_package_is_the_same_under_every_seed():
    boxes = [selective_search(picture(), mode="package", min_side=1, max_boxes=99, seed=seed)[0] for seed in (1, 2)]
    np.testing.assert_array_equal(*boxes)


def test_options_of_another_mode_are_refused():
    with pytest.raises(TypeError, match="base_k"):
        selective_search(picture(), mode="package", base_k=100, **LIMITS)
    with pytest.raises(TypeError, match="sigma"):
        selective_search(picture(), mode="quick", sigma=0.9, **LIMITS)
