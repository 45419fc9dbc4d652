"""Maps as the table gradcam holds them, and their union."""

import numpy as np
import pytest

from models.grounding.maps import activation_maps, united


def test_maps_come_back_in_their_shape():
    stored = np.random.default_rng(0).random((3, 4, 5)).astype(np.float16)
    maps = activation_maps({"maps": stored.ravel(), "height": 4, "width": 5})
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps, stored.astype(np.float32))


def test_the_union_is_of_what_each_map_activates_or_of_their_values():
    maps = np.array([[[0.2, 0.6, 1.0]], [[0.5, 0.1, 0.7]]], np.float32)
    binary, soft = (united(maps, union=union, threshold=0.5) for union in ("binary", "soft"))
    assert binary.tolist() == [[0, 1, 1]] and binary.dtype == np.float32
    np.testing.assert_array_equal(soft, np.array([[0.5, 0.6, 1.0]], np.float32))
    assert united(maps, union="binary", threshold=0.4).tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="binary or soft"):
        united(maps, union="mean", threshold=0.5)
