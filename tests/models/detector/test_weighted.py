"""Losses in which objects count by a weight: with weights of 1 the usual ones, without weight as if an object were not there."""

import pytest
import torch

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN

SIZES = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "frozen": False}
WEIGHTED = ("loss_classifier", "loss_box_reg", "loss_mask")


def losses(weights: list[float] | None) -> dict[str, float]:
    """Of a picture with two objects."""
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(**SIZES).train()
    model.set_vocabulary(torch.nn.functional.normalize(torch.randn(3, 6), dim=1))
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[0, 8:40, 8:40], masks[1, 24:60, 44:76] = 1, 1
    boxes = torch.tensor([[8.0, 8, 40, 40], [44.0, 24, 76, 60]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    if weights is not None:
        target["loss_weight"] = torch.tensor(weights)
    torch.manual_seed(1)
    return {name: value.item() for name, value in model([torch.rand(3, 64, 80)], [target]).items()}


def test_weights_of_one_change_nothing():
    assert losses([1.0, 1.0]) == pytest.approx(losses(None), rel=1e-5)


def test_losses_are_linear_in_the_weights():
    none, first, second, both = (losses(weights) for weights in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]))
    for name in WEIGHTED:
        assert first[name] + second[name] - none[name] == pytest.approx(both[name], rel=1e-5)
        assert first[name] > none[name] and second[name] > none[name]
    assert none["loss_box_reg"] == none["loss_mask"] == 0 < none["loss_classifier"], "the background still teaches"
    assert first["loss_objectness"] == both["loss_objectness"]
