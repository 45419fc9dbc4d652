"""Formats of boxes: by hand, against torchvision, and without touching what they are given."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_convert

from structures.boxes import xywh_to_xyxy, xyxy_to_xywh


def test_a_box_by_hand():
    assert xywh_to_xyxy([3, 4, 10, 20]).tolist() == [3, 4, 13, 24]
    assert xyxy_to_xywh((3, 4, 13, 24)).tolist() == [3, 4, 10, 20]


@pytest.mark.parametrize("shape", [(4,), (0, 4), (7, 4), (2, 7, 4)])
def test_conversions_are_those_of_torchvision_and_keep_shape_dtype_and_argument(shape):
    boxes = np.random.default_rng(0).random(shape, np.float32)
    before = boxes.copy()
    for convert, source, target in ((xywh_to_xyxy, "xywh", "xyxy"), (xyxy_to_xywh, "xyxy", "xywh")):
        converted = convert(boxes)
        assert converted.dtype == np.float32
        np.testing.assert_array_equal(converted, box_convert(torch.from_numpy(boxes), source, target).numpy())
    np.testing.assert_array_equal(boxes, before)
