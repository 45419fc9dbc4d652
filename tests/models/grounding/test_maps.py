"""Maps as the table gradcam holds them."""

import numpy as np

from models.grounding.maps import activation_maps


def test_maps_come_back_in_their_shape_and_their_union_never_shrinks():
    stored = np.random.default_rng(0).random((3, 4, 5)).astype(np.float16)
    maps = activation_maps({"maps": stored.ravel(), "height": 4, "width": 5})
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps, stored.astype(np.float32))
    assert (maps.max(0) >= maps[0]).all()
