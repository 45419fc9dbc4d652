"""The weakly-supervised proposal network (Mask-free OVIS, Eq. 5): two branches over proposals, image labels only.

W = softmax over categories (W_cls) . softmax over proposals (W_det),   p_c = sum over proposals of w_c
L = - sum over c of y_c log p_c + (1 - y_c) log (1 - p_c)  +  1/N sum over proposals of smoothL1(t(u), u)

The patent leaves open, and so ours are: two fully connected layers, t(u) as a detector's offsets, which proposals of a
category that is present are its "diverse set of high-scoring non-overlapping proposals" and which others are drawn to them
(pseudo_targets), and the suppression of overlapping boxes before the top K are taken.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou, clip_boxes_to_image, nms, remove_small_boxes, roi_pool

from models.backbones import build_backbone
from models.pixels import COLOUR_MEAN, COLOUR_STD

_LEVEL = {"small": "2", "resnet50": "2"}
_POOLED = {"small": 5, "resnet50": 7}
_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


class WSPN(nn.Module):
    """Backbone, RoI pooling, two fully connected layers, and the classification, detection and regression branches.

    categories: how many base categories; weights: of the pretrained backbone, None to start from nothing or to load the
    whole network afterwards; frozen: see build_backbone.
    """

    def __init__(
        self, *, backbone: str, categories: int, hidden: int, min_size: int, weights: dict | None = None, frozen=True
    ):
        super().__init__()
        self.transform = GeneralizedRCNNTransform(min_size, 4 * min_size, COLOUR_MEAN, COLOUR_STD, size_divisible=16)
        self.backbone, channels, strides = build_backbone(backbone, weights, frozen=frozen)
        self._level, side = _LEVEL[backbone], _POOLED[backbone]
        self._side, self._scale = side, 1 / strides[int(self._level)]
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[int(self._level)] * side * side, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.classification = nn.Linear(hidden, categories)
        self.detection = nn.Linear(hidden, categories)
        self.regression = nn.Linear(hidden, 4)
        for branch, deviation in ((self.classification, 0.01), (self.detection, 0.01), (self.regression, 0.001)):
            nn.init.normal_(branch.weight, std=deviation)
            nn.init.zeros_(branch.bias)

    def forward(self, images: list[Tensor], boxes: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per image (W_cls [N, categories], W_det [N, categories], box offsets [N, 4]), all before any softmax.

        images: [3, h, w] float32 in 0..1, of any size; boxes: [N, 4] xyxy, pixels of the image.
        """
        batch, resized = self.transform(images, [{"boxes": b, "labels": b.new_zeros(len(b))} for b in boxes])
        features = self.backbone(batch.tensors)
        pooled = roi_pool(features[self._level], [r["boxes"] for r in resized], self._side, self._scale)
        x = self.trunk(pooled)
        counts = [len(b) for b in boxes]
        branches = (self.classification(x), self.detection(x), self.regression(x))
        return list(zip(*(branch.split(counts) for branch in branches)))


def proposal_weights(classification: Tensor, detection: Tensor) -> Tensor:
    """W of Eq. 5, [N, categories]: every column sums to at most 1."""
    return classification.softmax(1) * detection.softmax(0)


def classification_loss(weights: Tensor, labels: Tensor) -> Tensor:
    """First term of Eq. 5. weights: [N, categories]; labels: [categories] 0 or 1."""
    p = weights.sum(0).clamp(1e-6, 1 - 1e-6)
    return F.binary_cross_entropy(p, labels, reduction="sum")


def pseudo_targets(boxes: Tensor, weights: Tensor, labels: Tensor, *, per_category: int, overlap: float) -> Tensor:
    """For each proposal the index of the proposal that it is regressed toward, -1 for none: [N] int64.

    boxes: [N, 4] xyxy; weights: W of Eq. 5, [N, categories]; labels: [categories] 0 or 1. Of each present category the
    `per_category` highest-scoring proposals that don't overlap (IoU up to 0.3) are targets; any other proposal with IoU
    of at least `overlap` to one of them is regressed toward the one that it overlaps most.
    """
    best: list[Tensor] = []
    for category in labels.nonzero().flatten().tolist():
        best.append(nms(boxes, weights[:, category], 0.3)[:per_category])
    target_index = torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    if best:
        targets = torch.cat(best).unique()
        iou, nearest = box_iou(boxes, boxes[targets]).max(1)
        target_index = torch.where(iou >= overlap, targets[nearest], target_index)
        target_index[targets] = -1
    return target_index


def regression_loss(boxes: Tensor, offsets: Tensor, target_index: Tensor) -> Tensor:
    """Second term of Eq. 5: smooth L1 between predicted and wanted offsets, over N proposals.

    boxes, offsets: [N, 4]; target_index: [N], see pseudo_targets.
    """
    regressed = target_index >= 0
    if not regressed.any():
        return offsets.sum() * 0
    wanted = _CODER.encode([boxes[target_index[regressed]]], [boxes[regressed]])[0]
    return F.smooth_l1_loss(offsets[regressed], wanted, reduction="sum") / len(boxes)


def wspn_loss(
    outputs: list[tuple[Tensor, Tensor, Tensor]],
    boxes: list[Tensor],
    labels: Tensor,
    *,
    targets: int,
    overlap: float,
    regression_weight: float,
) -> tuple[Tensor, Tensor]:
    """Eq. 5 over a batch: (classification, regression), each the mean over images.

    outputs: of WSPN; boxes: [N, 4] of each image; labels: [batch, categories] 0 or 1; targets: how many of each present
    category, and overlap: see pseudo_targets; regression_weight: of the second term.
    """
    classification_losses, regression_losses = [], []
    for (classification, detection, offsets), image_boxes, image_labels in zip(outputs, boxes, labels):
        weights = proposal_weights(classification, detection)
        classification_losses.append(classification_loss(weights, image_labels))
        index = pseudo_targets(image_boxes, weights.detach(), image_labels, per_category=targets, overlap=overlap)
        regression_losses.append(regression_loss(image_boxes, offsets, index))
    return torch.stack(classification_losses).mean(), regression_weight * torch.stack(regression_losses).mean()


def propose(
    boxes: Tensor, detection: Tensor, offsets: Tensor, *, height: int, width: int, rank: str, nms_iou: float, top_k: int
) -> tuple[Tensor, Tensor]:
    """The best proposals of an image: regressed, ranked by the detection branch over all categories, top K after NMS.

    boxes, offsets: [N, 4]; detection: [N, categories]. rank: of the box's shares of W_det, one a category, "largest"
    takes the largest ("the top K over all the classes", OVIS), "mean" their geometric mean, which finds more objects of
    categories never named: a part that tells one base category well does not outdo whole unknown objects.

    Returns [K, 4] xyxy inside the image, and [K] scores in 0..1, descending.
    """
    if rank not in ("largest", "mean"):
        raise ValueError(f"rank {rank!r}: largest or mean")
    proposals = clip_boxes_to_image(_CODER.decode(offsets, [boxes]).squeeze(1), (height, width))
    shares = detection.log_softmax(0)
    scores = (shares.mean(1) if rank == "mean" else shares.amax(1)).exp()
    large_enough = remove_small_boxes(proposals, 1.0)
    proposals, scores = proposals[large_enough], scores[large_enough]
    best = nms(proposals, scores, nms_iou)[:top_k]
    return proposals[best], scores[best]
