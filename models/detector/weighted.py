"""Mask R-CNN's losses of boxes, names and masks where each object counts by a weight (ours): labels of little confidence teach
less. With weights of 1 they are what OpenVocabularyMaskRCNN.detection_losses gives without any."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes


def classification_loss(logits: Tensor, labels: Tensor, of_names: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """The cross-entropy of regions [regions, 1 + names] over their number. labels [regions], 0 the background; of_names:
    [1 + names] factors; positive: [regions] bool, which are of an object; weights: of these objects, in order."""
    of_region = torch.ones_like(logits[:, 0]).masked_scatter(positive, weights)
    losses = F.cross_entropy(logits, labels, weight=of_names, reduction="none")
    return (losses * of_region).sum() / max(1, len(labels))


def box_loss(deltas: Tensor, offsets: Tensor, weights: Tensor, regions: int) -> Tensor:
    """The smooth L1 loss of objects' offsets [objects, 4] over the number of all regions."""
    losses = F.smooth_l1_loss(deltas, offsets, beta=1 / 9, reduction="none").sum(1)
    return (losses * weights).sum() / max(1, regions)


def mask_loss(
    logits: Tensor, boxes: Sequence[Tensor], masks: Sequence[Tensor], objects: Sequence[Tensor], weights: Tensor
) -> Tensor:
    """The mean cross-entropy of masks. logits: [objects, 1, side, side] of boxes [n, 4] xyxy, those of each picture; masks: of
    each picture [m, h, w] uint8, of which objects [n] says which is whose."""
    side = logits.shape[-1]
    targets = torch.cat([project_masks_on_boxes(*of_image, side) for of_image in zip(masks, boxes, objects)])
    if not len(targets):
        return logits.sum() * 0
    losses = F.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none").mean((1, 2))
    return (losses * weights).mean()
