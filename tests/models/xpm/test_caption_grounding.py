"""OVR's grounding loss against a direct evaluation."""

import math

import pytest
import torch

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm.caption_grounding import CaptionGroundedMaskRCNN, fit, grid_boxes, grounding_loss


def direct_fit(similarities, words):
    """<I, C> with attention over regions, written out."""
    total = 0.0
    for word in words:
        values = [row[word] for row in similarities]
        weights = [math.exp(v) for v in values]
        total += sum(w * v for w, v in zip(weights, values)) / sum(weights)
    return total / len(words)


def test_pictures_and_captions_fit_as_the_formula_says():
    torch.manual_seed(0)
    regions, words = torch.randn(2, 5, 4), [torch.tensor([0, 2]), torch.tensor([3])]
    scores = fit(regions, words)
    for i in range(2):
        for j in range(2):
            assert scores[i, j].item() == pytest.approx(direct_fit(regions[i].tolist(), words[j].tolist()), rel=1e-5)
    rows = [-math.log(math.exp(scores[i, i]) / sum(math.exp(scores[i, j]) for j in range(2))) for i in range(2)]
    columns = [-math.log(math.exp(scores[i, i]) / sum(math.exp(scores[j, i]) for j in range(2))) for i in range(2)]
    assert grounding_loss(regions, words).item() == pytest.approx(sum(rows + columns) / 2, rel=1e-5)


def test_captions_that_name_the_same_are_no_counter_examples():
    regions = torch.randn(2, 5, 4)
    same = [torch.tensor([1, 2]), torch.tensor([2, 1])]
    one, other = regions.clone(), regions.flip(0)
    assert grounding_loss(one, same).item() == pytest.approx(grounding_loss(other, same).item(), rel=1e-6)


def test_grid_boxes_cover_the_picture_at_two_sizes():
    boxes = grid_boxes(64, 96)
    assert boxes.shape == (9 + 49, 4)
    assert boxes.min() == 0 and boxes[:, 2].max() == 96 and boxes[:, 3].max() == 64
    assert boxes[0].tolist() == [0, 0, 48, 32]


def test_a_detector_learns_regions_from_captions_and_starts_another():
    torch.manual_seed(0)
    sizes = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "background": "zero"}
    model = CaptionGroundedMaskRCNN(**sizes, frozen=False).train()
    model.set_vocabulary(torch.eye(6)[:4])
    images, targets = [torch.rand(3, 64, 80)] * 2, [{"words": torch.tensor([0, 2])}, {"words": torch.tensor([3])}]
    losses = model(images, targets)
    assert losses.keys() == {"loss_grounding"}
    losses["loss_grounding"].backward()
    assert model.roi_heads.box_predictor.embedding.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.rpn.parameters())
    detector = OpenVocabularyMaskRCNN(**sizes)
    detector.start_from(model.state_dict())
    assert torch.equal(detector.roi_heads.box_head.fc6.weight, model.roi_heads.box_head.fc6.weight)
