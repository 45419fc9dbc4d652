"""Mask methods by name: one interface, a crop's mask whatever its neighbours."""

import numpy as np
import pytest
import torch

from models.grounding.crops import cut_crop, lab_colours
from models.masks.grabcut import cut_out
from models.masks.interface import full_batch, load_method
from structures.errors import UserError

OPTIONS = {
    "network": {
        "channels": 8, "steps": 10, "lr": 0.05, "foreground": 0.1, "background": "frame", "background_share": 0.3,
        "points": 20,
    },
    "grabcut": {
        "seed_fraction": 0.2, "activation_logit": 2.0, "smoothness": 8.0, "position": 0.05, "components": 4,
        "rounds": 2, "sweeps": 5,
    },
    "threshold": {"threshold": 0.5},
}  # fmt: skip


def crops(count=5, side=16):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (count, 40, 50, 3), dtype=np.uint8)
    activations = rng.random((count, 8, 8), dtype=np.float32)
    box = np.array([8, 6, 36, 30], np.float32)
    return [cut_crop(picture, map_, box, side=side, margin=0.2) for picture, map_ in zip(pictures, activations)]


def rngs(count=5):
    return [np.random.default_rng([3, i]) for i in range(count)]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_crops_probabilities_are_the_same_bits_whatever_its_neighbours(name):
    outline, options = load_method(name), {"batch": 8, "device": "cpu", **OPTIONS[name]}
    together = outline(crops(), rngs(), **options)
    assert together.shape == (5, 16, 16) and together.dtype == np.float32
    for i in (0, 3):
        [alone] = outline(crops()[i : i + 1], rngs()[i : i + 1], **options)
        np.testing.assert_array_equal(alone, together[i])


def test_grabcut_is_cut_out_of_a_full_batch_of_lab_colours():
    batch = [(lab_colours(crop.pixels), crop.activation, crop.inside) for crop in crops()]
    colours, activation, inside = (torch.from_numpy(np.stack(column)) for column in zip(*batch))
    expected = cut_out(colours, activation, inside, **OPTIONS["grabcut"]).numpy()
    probabilities = load_method("grabcut")(crops(), rngs(), batch=5, device="cpu", **OPTIONS["grabcut"])
    np.testing.assert_array_equal(probabilities, expected)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_threshold_takes_what_is_activated_above_it_inside_the_box(threshold):
    probabilities = load_method("threshold")(crops(), rngs(), batch=8, device="cpu", threshold=threshold)
    for probability, crop in zip(probabilities, crops()):
        np.testing.assert_array_equal(probability > 0.5, (crop.activation > threshold) & crop.inside)
    if threshold == 0.5:
        np.testing.assert_array_equal(probabilities, np.stack([crop.activation * crop.inside for crop in crops()]))


def test_a_batch_is_filled_up_with_its_first_row():
    [filled] = full_batch([np.full(2, 1.0), np.full(2, 2.0)], batch=4, device="cpu")
    assert filled[:, 0].tolist() == [1, 2, 1, 1]


@pytest.mark.parametrize("name", ["interface", "sharp", "../masks/network"])
def test_an_unknown_method_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=r"wanted one of (\w+, )*network, (\w+, )*threshold"):
        load_method(name)
