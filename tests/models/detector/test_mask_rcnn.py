"""The open-vocabulary Mask R-CNN: Eq. 8, losses, detections."""

import copy

import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN


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
    expected = tops / tops.sum(1, keepdim=True)
    torch.testing.assert_close(detector.class_logits(h, text).softmax(1), expected)


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
    detector.set_vocabulary(text)
    losses = detector.train()(images, targets)
    assert tuple(losses) == LOSSES
    sum(losses.values()).backward()
    assert detector.roi_heads.box_predictor.background.grad.abs().sum() > 0
    results = detector.eval().detect(
        images[0], {"all": text, "first": text[:1]}, score_threshold=0.0, nms_iou=0.5, max_detections=7
    )
    for detections, names in zip(results.values(), (3, 1)):
        assert len(detections["boxes"]) <= 7 and detections["masks"].shape[1:] == (64, 80)
        assert detections["labels"].max() < names and (detections["scores"].diff() <= 0).all()


def test_in_evaluation_mode_a_call_gives_the_detections_in_torchvisions_form():
    torch.manual_seed(0)
    thresholds = {"box_score_thresh": 0.01, "box_nms_thresh": 0.4, "box_detections_per_img": 6}
    detector = OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96, **thresholds).eval()
    text = F.normalize(torch.randn(3, 6), dim=1)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64)]
    detector.set_vocabulary(text)
    reference = detector.detect_in(images, {"all": text}, score_threshold=0.01, nms_iou=0.4, max_detections=6)
    with torch.no_grad():
        results = detector(images)
    for image, detections, results_of_names in zip(images, results, reference):
        expected = results_of_names["all"]
        assert len(expected["boxes"]) == 6
        assert torch.equal(detections["boxes"], expected["boxes"]) and torch.equal(
            detections["scores"], expected["scores"]
        )
        assert torch.equal(detections["labels"], expected["labels"] + 1)
        assert detections["masks"].shape == (6, 1, *image.shape[-2:])
        assert torch.equal(detections["masks"][:, 0] > 0.5, expected["masks"])


def test_the_vocabulary_is_to_be_set_and_is_no_part_of_the_checkpoint(detector):
    model = copy.deepcopy(detector)
    keys = set(model.state_dict())
    with pytest.raises(RuntimeError, match="set_vocabulary"):
        model([torch.rand(3, 64, 80)])
    model.set_vocabulary(torch.eye(6)[:2])
    assert set(model.state_dict()) == keys


def test_frozen_parts_do_not_learn(detector):
    detector.freeze(["embedding", "backbone"])
    names = {name for name, weight in detector.named_parameters() if not weight.requires_grad}
    assert {"roi_heads.box_predictor.background", "roi_heads.box_predictor.embedding.weight"} <= names
    assert all(name.startswith(("backbone.body", "roi_heads.box_predictor")) for name in names)
    assert detector.roi_heads.box_predictor.box.weight.requires_grad
    with pytest.raises(ValueError, match="no part 'neck'"):
        detector.freeze(["neck"])
