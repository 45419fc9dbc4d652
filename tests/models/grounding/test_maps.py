"""Maps as the table gradcam holds them, and their union."""

import numpy as np
import pytest

from models.grounding.maps import activation_maps, activations_of_nouns, set_apart, united


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


def test_what_other_nouns_activate_is_taken_off_and_little_counts_less():
    cat, dog = np.array([[1.0, 0.5, 0.2]]), np.array([[0.0, 0.5, 1.0]])
    of_cat, of_dog = set_apart([cat, dog], others=0.5, power=2)
    np.testing.assert_allclose(of_cat, [[1.0, 0.0625, 0.0]])
    np.testing.assert_allclose(of_dog, [[0.0, (0.25 / 0.9) ** 2, 1.0]])


@pytest.mark.parametrize("shapes", [1, 3])
def test_without_shares_and_powers_maps_stay_the_bytes_they_are(shapes):
    maps = [np.random.default_rng(i).random((4, 5)).astype(np.float32) for i in range(shapes)]
    for left, right in zip(set_apart(maps, others=0.0, power=1.0), maps):
        np.testing.assert_array_equal(left, right)


def test_a_noun_of_which_nothing_is_left_keeps_what_it_had_and_nothing_stays_nothing():
    weak, strong, none = np.full((2, 2), 0.2), np.full((2, 2), 0.9), np.zeros((2, 2))
    apart = set_apart([weak, strong, none], others=1.0, power=1)
    np.testing.assert_array_equal(apart[0], np.ones((2, 2)))
    assert apart[1].max() == 1 and not apart[2].any()


def test_each_category_has_its_own_map():
    rows = [
        {"category": name, "maps": np.array(values, np.float16), "height": 1, "width": 2}
        for name, values in (("cat", [1.0, 0.0]), ("dog", [0.5, 1.0]))
    ]
    found = activations_of_nouns(rows, union="soft", threshold=0.5, others=1.0, power=1.0)
    assert {name: activation.tolist() for name, activation in found.items()} == {"cat": [[1, 0]], "dog": [[0, 1]]}
