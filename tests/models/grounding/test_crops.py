"""Crops at borders and of few pixels."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from models.grounding.crops import cut_crop, paste_mask


def test_a_crop_of_3_by_3_pixels_and_one_of_a_single_pixel():
    image, activation = np.zeros((20, 30, 3), np.uint8), np.ones((4, 4), np.float32)
    crop = cut_crop(image, activation, np.array([5, 5, 8, 8]), side=16, margin=0.2)
    assert crop.box == (5, 5, 8, 8) and crop.pixels.shape == (3, 16, 16)
    mask = paste_mask(np.ones((16, 16), np.float32), crop)
    assert mask["area"] == 9 and coco_mask.decode(mask["segmentation"])[5:8, 5:8].all()
    assert cut_crop(image, activation, np.array([5, 5, 6, 6]), side=16, margin=0) is None
    assert paste_mask(np.zeros((16, 16), np.float32), crop) is None


def test_a_box_touching_the_border_is_kept_inside():
    crop = cut_crop(
        np.zeros((20, 30, 3), np.uint8), np.ones((4, 4), np.float32), np.array([-4, 3.2, 40, 25]), side=8, margin=0.5
    )
    assert crop.box == (0, 3, 30, 20) and crop.window == (0, 0, 30, 20)


def test_a_crop_of_nearest_cells_has_no_value_that_the_cells_have_not():
    image, cells = np.zeros((60, 80, 3), np.uint8), np.array([[0, 1], [0.25, 0.5]], np.float32)
    for box, side in (([20, 15, 60, 45], 16), ([0, 0, 80, 60], 20), ([30, 20, 52, 44], 64)):
        nearest, linear = (
            cut_crop(image, cells, np.array(box), side=side, margin=0, interpolation=name)
            for name in ("nearest", "linear")
        )
        assert set(np.unique(nearest.activation)) == set(np.unique(nearest.phi)) == {0, 0.25, 0.5, 1}
        assert len(np.unique(linear.activation)) > 4
    whole = cut_crop(image, cells, np.array([0, 0, 80, 60]), side=20, margin=0, interpolation="nearest")
    np.testing.assert_array_equal(whole.activation, np.repeat(np.repeat(cells, 10, 0), 10, 1))
    with pytest.raises(ValueError, match="nearest or linear"):
        cut_crop(image, cells, np.array([0, 0, 9, 9]), side=8, margin=0, interpolation="cubic")
