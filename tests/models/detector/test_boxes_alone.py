"""Annotations of which some have a box and no mask: they teach boxes and names, and masks are learned from the others."""

import pytest
import torch

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN

BOXES = torch.tensor([[8.0, 8, 40, 40], [44.0, 24, 76, 60]])


def losses(
    outlined: list[bool] | None, second_mask: int = 1, weights: list[float] | None = None
) -> tuple[dict[str, float], list[torch.Tensor | None]]:
    """Of a picture with two objects, the second of whose masks is all of second_mask inside its box; and the gradients of the mask
    head that its loss gives."""
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96, frozen=False).train()
    model.set_vocabulary(torch.nn.functional.normalize(torch.randn(3, 6), dim=1))
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[0, 8:40, 8:30], masks[1, 24:60, 44:76] = 1, second_mask
    target = {"boxes": BOXES, "labels": torch.tensor([1, 2]), "masks": masks}
    target |= {} if outlined is None else {"outlined": torch.tensor(outlined)}
    target |= {} if weights is None else {"loss_weight": torch.tensor(weights)}
    torch.manual_seed(1)
    found = model([torch.rand(3, 64, 80)], [target])
    found["loss_mask"].backward()
    gradients = [weight.grad for weight in model.roi_heads.mask_predictor.parameters()]
    return {name: found[name].item() for name in LOSSES}, gradients


def test_all_outlined_is_the_same_as_not_said():
    assert losses([True, True])[0] == losses(None)[0]


@pytest.mark.parametrize("weights", [None, [0.5, 1.0]])
def test_an_object_with_a_box_alone_teaches_all_but_its_mask(weights):
    whole, first = losses(None, weights=weights)[0], losses([True, False], weights=weights)[0]
    assert first == losses([True, False], second_mask=0, weights=weights)[0], "whatever stands in place of its mask"
    assert first["loss_mask"] != whole["loss_mask"] > 0 < first["loss_mask"]
    assert {**first, "loss_mask": 0} == {**whole, "loss_mask": 0}
    if weights is None:
        second = losses([False, True])[0]["loss_mask"]
        low, high = sorted((first["loss_mask"], second))
        assert low < whole["loss_mask"] < high, "the mean over both objects' regions"


def test_a_picture_of_boxes_alone_gives_a_loss_of_nothing_that_can_be_summed():
    found, gradients = losses([False, False])
    assert found["loss_mask"] == 0 < found["loss_box_reg"]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
