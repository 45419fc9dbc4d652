"""Backbones by name, and weights that do not fit."""

import pytest
import torch

from models.backbones import BackboneError, SmallBackbone, build_backbone, read_backbone_weights
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.proposals.wspn import WSPN


def test_resnet50_is_taken_by_config():
    model = OpenVocabularyMaskRCNN(backbone="resnet50", dimension=6, min_size=64, max_size=96)
    with torch.no_grad():
        maps = model.backbone(torch.zeros(1, 3, 64, 64))
    assert [m.shape[-1] for m in maps.values()] == [16, 8, 4, 2, 1]
    with torch.no_grad():
        [(c, d, o)] = WSPN(backbone="resnet50", categories=3, hidden=16, min_size=64)(
            [torch.zeros(3, 64, 64)], [torch.tensor([[0, 0, 32, 32.0]])]
        )
    assert c.shape == d.shape == (1, 3) and o.shape == (1, 4)


def test_weights_of_another_network_are_refused():
    with pytest.raises(BackboneError, match="no resnet50 backbone"):
        build_backbone("resnet50", SmallBackbone().state_dict(), frozen=True)


def test_layers_without_weights_have_nothing_to_keep():
    with pytest.raises(BackboneError, match="nothing for 2 layers of the backbone to keep"):
        read_backbone_weights(None, trainable_layers=3)
    assert read_backbone_weights(None, trainable_layers=5) is None
