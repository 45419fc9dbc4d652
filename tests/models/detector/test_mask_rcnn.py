"""The open-vocabulary Mask R-CNN: Eq. 8, losses, detections."""

import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96)


def test_class_probabilities_are_equation_8(detector):
    text = F.normalize(torch.randn(3, 6), dim=1)
    h = torch.randn(5, 6)
    background = F.normalize(detector.roi_heads.box_predictor.background, dim=0)
    unit = F.normalize(h, dim=1)
    tops = torch.exp(torch.stack([unit @ background, *(unit @ c for c in text)], 1) / 0.05)
    wanted = tops / tops.sum(1, keepdim=True)
    torch.testing.assert_close(detector.class_logits(h, text).softmax(1), wanted)


@pytest.mark.parametrize("backbone", ["small", "resnet50_c4"])
def test_the_detector_has_losses_gradients_and_detections(backbone):
    torch.manual_seed(0)
    detector = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, min_size=64, max_size=96, frozen=False)
    text = F.normalize(torch.randn(3, 6), dim=1)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64)]
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    box = torch.tensor([[10.0, 10, 50, 40]])
    targets = [
        {"boxes": box, "labels": torch.tensor([2]), "masks": m}
        for m in (masks, masks[:, :, :64].repeat(1, 2, 1)[:, :72])
    ]
    losses = detector.train().losses(images, targets, text)
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    sum(losses.values()).backward()
    assert detector.roi_heads.box_predictor.background.grad.abs().sum() > 0
    found = detector.eval().detect(
        images[0], {"all": text, "some": text[:1]}, score_threshold=0.0, nms_iou=0.5, max_detections=7
    )
    for result, names in zip(found.values(), (3, 1)):
        assert len(result["boxes"]) <= 7 and result["masks"].shape[1:] == (64, 80)
        assert result["labels"].max() < names and (result["scores"].diff() <= 0).all()


def test_frozen_parts_do_not_learn(detector):
    detector.freeze(["embedding", "backbone"])
    names = {name for name, weight in detector.named_parameters() if not weight.requires_grad}
    assert {"roi_heads.box_predictor.background", "roi_heads.box_predictor.embedding.weight"} <= names
    assert all(name.startswith(("backbone.body", "roi_heads.box_predictor")) for name in names)
    assert detector.roi_heads.box_predictor.box.weight.requires_grad
    with pytest.raises(ValueError, match="no part 'neck'"):
        detector.freeze(["neck"])
