"""The detector on one image, before it is traced: the same sizes, pastes and detections as torchvision's parts give."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.detector.one_image import OneImageDetector, paste_masks

THRESHOLDS = {"score_threshold": 0.2, "nms_iou": 0.5, "max_detections": 9}


def detector(**settings) -> OpenVocabularyMaskRCNN:
    torch.manual_seed(0)
    return OpenVocabularyMaskRCNN(backbone="small", dimension=6, **({"min_size": 64, "max_size": 96} | settings)).eval()


@pytest.mark.parametrize(("min_size", "max_size"), [(144, 192), (800, 1333)])
def test_an_image_is_resized_as_by_torchvision_to_the_pixel(min_size, max_size):
    network = OneImageDetector(detector(min_size=min_size, max_size=max_size), **THRESHOLDS)
    for height, width in np.random.default_rng(0).integers(1, 3000, (2000, 2)).tolist():
        scale = min(min_size / min(height, width), max_size / max(height, width))
        wanted = [int(np.floor(height * scale)), int(np.floor(width * scale))]
        assert network.resized_size(torch.tensor([height, width])).tolist() == wanted


def test_masks_are_pasted_as_by_torchvision():
    torch.manual_seed(0)
    corners = torch.rand(50, 2) * torch.tensor([90.0, 60.0])
    boxes = torch.cat([corners, corners + torch.rand(50, 2) * 40], 1)
    boxes[:3] = torch.tensor([[0.0, 0, 100, 70], [-6, -3, 2, 2], [99.9, 69.9, 100, 70]])
    masks = torch.rand(50, 28, 28)
    expected = paste_masks_in_image(masks[:, None], boxes, (70, 100))[:, 0]
    torch.testing.assert_close(paste_masks(masks, boxes, torch.tensor([70, 100])), expected, atol=1e-5, rtol=0)
    assert paste_masks(masks[:0], boxes[:0], torch.tensor([70, 100])).shape == (0, 70, 100)


@pytest.mark.parametrize("settings", [{}, {"prior": True}, {"background": "rpn"}], ids=str)
def test_it_finds_what_the_detector_finds(settings):
    text = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    image = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(2))
    expected = detector(**settings).detect(image, {"all": text}, **THRESHOLDS)["all"]
    assert len(expected["scores"]) == 9
    with torch.no_grad():
        found = OneImageDetector(detector(**settings), **THRESHOLDS)(image, text)
    for values, name in zip(found, ("boxes", "scores", "labels")):
        torch.testing.assert_close(values, expected[name], atol=1e-4, rtol=0)
    assert (found[3] == expected["masks"]).float().mean() > 0.999
