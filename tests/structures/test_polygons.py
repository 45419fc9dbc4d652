"""Masks as polygons: what others fill is the mask again."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from structures.polygons import MAX_HOLES, centre_polygon, edge_polygons


def filled_by_pycocotools(polygons, height, width):
    rles = coco_mask.frPyObjects([corners.ravel().tolist() for corners in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


@pytest.mark.parametrize("blur", [1.5, 3.0, 8.0])
def test_edges_are_exact_to_pycocotools_whatever_the_holes_and_parts(blur):
    rng = np.random.default_rng(3)
    for height, width in [(40, 60), (61, 37), (90, 90)]:
        noise = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), blur)
        mask = noise > np.quantile(noise, 0.4)
        assert np.array_equal(filled_by_pycocotools(edge_polygons(mask), height, width), mask)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    polygons = edge_polygons(np.eye(2, dtype=bool))
    assert len(polygons) == 2 and all(len(corners) == 4 for corners in polygons)


def test_a_rectangle_has_four_corners():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:8] = True
    [corners] = edge_polygons(mask)
    assert {tuple(corner) for corner in corners.tolist()} == {(3, 2), (8, 2), (8, 5), (3, 5)}
    assert {tuple(corner) for corner in centre_polygon(mask).tolist()} == {(3, 2), (7, 2), (7, 4), (3, 4)}


def test_too_many_holes_are_refused_and_no_mask_is_no_polygon():
    mask = np.ones((60, 60), bool)
    mask[1:-1:3, 1:-1:3] = False
    with pytest.raises(ValueError, match=f"more than {MAX_HOLES} holes"):
        edge_polygons(mask)
    assert edge_polygons(np.zeros((5, 5), bool)) == []


def test_a_far_speck_is_left_out_rather_than_joined_by_a_long_line():
    mask = np.zeros((100, 100), bool)
    mask[:40, :40] = mask[95:98, 95:98] = True
    canvas = np.zeros((100, 100), np.uint8)
    cv2.fillPoly(canvas, [centre_polygon(mask)], 1)
    assert canvas.sum() == 1600
