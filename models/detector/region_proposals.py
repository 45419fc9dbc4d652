"""What a detector's region proposal network proposes, before the box head moves it (Ren et al., 2015)."""

import torch
from torch import Tensor

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN


@torch.inference_mode()
def region_proposals(model: OpenVocabularyMaskRCNN, images: list[Tensor]) -> list[Tensor]:
    """Boxes [n, 4] xyxy of each image, in its pixels and inside it, the most object-like first.

    model: in evaluation mode; images: [3, h, w] float32 in 0..1. How many are kept is the backbone's parts' own number.
    """
    batch, _ = model.transform(images)
    proposals, _ = model.rpn(batch, model.backbone(batch.tensors))
    scaled = []
    for image, boxes, (resized_height, resized_width) in zip(images, proposals, batch.image_sizes):
        height, width = image.shape[-2:]
        scaled.append(boxes * boxes.new_tensor([width / resized_width, height / resized_height] * 2))
    return scaled
