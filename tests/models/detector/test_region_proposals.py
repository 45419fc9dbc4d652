"""A detector's region proposals, in pixels of the picture that was given."""

import pytest
import torch
from torchvision.ops import box_iou

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.detector.region_proposals import region_proposals


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"backbone": "small", "dimension": 8, "min_size": 96, "max_size": 128}
    return OpenVocabularyMaskRCNN(**sizes).eval()


def test_they_are_the_networks_own_in_the_pictures_pixels_the_most_object_like_first(model):
    picture = torch.rand(3, 160, 240, generator=torch.Generator().manual_seed(1))
    seen = []
    hook = model.rpn.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    [boxes] = region_proposals(model, [picture])
    hook.remove()
    [[of_batch]] = seen
    assert len(boxes) == len(of_batch) > 50
    height, width = 240 * 128 // 240 * 160 // 240, 128  # resized: the longer side is 128
    expected = of_batch * torch.tensor([240 / width, 160 / height] * 2)
    torch.testing.assert_close(boxes, expected)
    assert (boxes >= 0).all() and (boxes[:, 2] <= 240.01).all() and (boxes[:, 3] <= 160.01).all()
    assert (boxes[:, 2] > 128).any(), "pixels of the picture, not of the batch"


def test_the_first_has_the_highest_objectness(model):
    picture = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(2))
    seen = []
    hook = model.rpn.head.register_forward_hook(lambda _, __, output: seen.append(output))
    [boxes] = region_proposals(model, [picture])
    hook.remove()
    [(objectness, deltas)] = seen
    features = model.backbone(model.transform([picture])[0].tensors)
    anchors = model.rpn.anchor_generator(model.transform([picture])[0], list(features.values()))
    logits = torch.cat([level.permute(0, 2, 3, 1).reshape(-1) for level in objectness])
    offsets = torch.cat([d.reshape(-1, 4, *d.shape[-2:]).permute(2, 3, 0, 1).reshape(-1, 4) for d in deltas])
    best = int(logits.argmax())
    expected = model.rpn.box_coder.decode(offsets[best][None], [anchors[0][best][None]]).reshape(1, 4)
    expected = torch.stack([expected[:, 0::2].clamp(0, 128), expected[:, 1::2].clamp(0, 96)], -1).reshape(1, 4)
    assert box_iou(boxes[:1], expected).item() == pytest.approx(1, abs=1e-3)
