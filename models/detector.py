"""Open-vocabulary Mask R-CNN (He et al., 2017; Mask-free OVIS, Eq. 8): class-agnostic boxes and masks, classes by text.

    p(r, c) = exp(h(r) . c) / (exp(h(r) . bg) + sum over k of exp(h(r) . c_k))

torchvision's parts throughout; the heads differ: one box and one mask a region, and a region's embedding h(r) is
compared with frozen text embeddings and a learned background embedding, all of unit length, over a temperature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from models.detector_parts import build_parts
from models.pixels import COLOUR_MEAN, COLOUR_STD

PARTS = {
    "backbone": ("backbone.body",),
    "pyramid": ("backbone.fpn",),
    "rpn": ("rpn",),
    "box_head": ("roi_heads.box_head",),
    "embedding": ("roi_heads.box_predictor.embedding", "roi_heads.box_predictor.background"),
    "mask_head": ("roi_heads.mask_head", "roi_heads.mask_predictor"),
}


class OpenVocabularyMaskRCNN(nn.Module):
    """The detector.

    dimension: of the text embeddings; weights: of the pretrained backbone, None to start from nothing or to load the
    whole network afterwards; frozen: see build_backbone; background_weight: of the background in the classification loss
    (OVIS: 0.2); temperature: divides the similarities.
    """

    def __init__(
        self,
        *,
        backbone: str,
        dimension: int,
        min_size: int,
        max_size: int,
        weights: dict | None = None,
        frozen: bool = True,
        background_weight: float = 0.2,
        temperature: float = 0.05,
    ):
        super().__init__()
        parts = build_parts(backbone, weights, frozen)
        self.background_weight, self.temperature = background_weight, temperature
        self.transform = GeneralizedRCNNTransform(min_size, max_size, COLOUR_MEAN, COLOUR_STD)
        self.backbone = parts.features
        anchors = AnchorGenerator(parts.anchors, ((0.5, 1.0, 2.0),) * len(parts.anchors))
        counts = parts.proposals
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(parts.channels, anchors.num_anchors_per_location()[0]),
            0.7,
            0.3,
            256,
            0.5,
            counts,
            counts,
            0.7,
        )
        names = list(parts.levels)
        self.roi_heads = RoIHeads(
            parts.pooling(names, parts.box_side, 2),
            parts.box_head,
            _Predictor(parts.hidden, dimension),
            0.5,
            0.5,
            parts.sampled,
            0.25,
            None,
            0.0,
            0.5,
            100,
            parts.pooling(names, parts.mask_side, 2),
            parts.mask_head,
            parts.mask_predictor,
        )

    def freeze(self, parts: list[str]) -> None:
        """Keep parts as they are: any of PARTS. Raises ValueError for another name."""
        for part in parts:
            if part not in PARTS:
                raise ValueError(f"no part {part!r} of the detector: {', '.join(PARTS)}")
        still = tuple(prefix for part in parts for prefix in PARTS[part])
        for name, weight in self.named_parameters():
            if name.startswith(still):
                weight.requires_grad_(False)

    def class_logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Eq. 8 before the softmax: [regions, 1 + names], the background first. text: [names, dimension], unit length."""
        background = F.normalize(self.roi_heads.box_predictor.background, dim=0)
        with torch.autocast(embedding.device.type, enabled=False):  # divided by so little, logits need all their digits
            return F.normalize(embedding.float(), dim=1) @ torch.cat([background[None], text]).t() / self.temperature

    def losses(self, images: list[Tensor], targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN.

        images: [3, h, w] float32 in 0..1; targets: dicts of boxes [n, 4] xyxy, labels [n] from 1 on (index into text,
        plus one) and masks [n, h, w] uint8; text: [names, dimension].
        """
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        proposals, rpn = self.rpn(batch, features, targets)
        heads = self.roi_heads
        proposals, matched, labels, offsets = heads.select_training_samples(proposals, targets)
        regions = heads.box_head(heads.box_roi_pool(features, proposals, batch.image_sizes))
        embedding, deltas = heads.box_predictor(regions)
        labels, offsets = torch.cat(labels), torch.cat(offsets)
        weight = torch.ones(1 + len(text), device=text.device)
        weight[0] = self.background_weight
        positive = labels > 0
        masks, chosen = [], []
        for proposal, index, label in zip(proposals, matched, labels.split([len(p) for p in proposals])):
            masks.append(proposal[label > 0])
            chosen.append(index[label > 0])
        mask_logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, masks, batch.image_sizes)))
        agnostic = [torch.zeros_like(target["labels"]) for target in targets]
        return {
            **rpn,
            "loss_classifier": F.cross_entropy(self.class_logits(embedding, text), labels, weight=weight),
            "loss_box_reg": F.smooth_l1_loss(deltas[positive], offsets[positive], beta=1 / 9, reduction="sum")
            / max(1, len(labels)),
            "loss_mask": maskrcnn_loss(mask_logits, masks, [target["masks"] for target in targets], agnostic, chosen),
        }

    @torch.inference_mode()
    def detect(
        self,
        image: Tensor,
        vocabularies: dict[str, Tensor],
        *,
        score_threshold: float,
        nms_iou: float,
        max_detections: int,
    ) -> dict[str, dict[str, Tensor]]:
        """Find objects in one image, once for each set of names that compete.

        image: [3, h, w] float32 in 0..1; vocabularies: {any name: [names, dimension]}. Returns for each vocabulary
        boxes [n, 4] xyxy pixels, labels [n] (index into its names), scores [n] descending, masks [n, h, w] bool.
        """
        height, width = image.shape[-2:]
        batch, _ = self.transform([image])
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, features)
        heads, size = self.roi_heads, batch.image_sizes[0]
        embedding, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, [size])))
        boxes = clip_boxes_to_image(heads.box_coder.decode(deltas, proposals).squeeze(1), size)
        scale = boxes.new_tensor([width / size[1], height / size[0]] * 2)
        best = {
            name: _best(self.class_logits(embedding, text), boxes, score_threshold, nms_iou, max_detections)
            for name, text in vocabularies.items()
        }
        regions, place = torch.cat([index for _, _, index in best.values()]).unique(return_inverse=True)
        logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, [boxes[regions]], [size])))
        masks = paste_masks_in_image(logits.sigmoid(), boxes[regions] * scale, (height, width)).squeeze(1) > 0.5
        places = place.split([len(index) for _, _, index in best.values()])
        return {
            name: {"boxes": boxes[index] * scale, "labels": labels, "scores": scores, "masks": masks[chosen]}
            for (name, (scores, labels, index)), chosen in zip(best.items(), places)
        }


class _Predictor(nn.Module):
    """Region features to the embedding h(r) and one box offset; holds the background embedding."""

    def __init__(self, hidden: int, dimension: int):
        super().__init__()
        self.embedding = nn.Linear(hidden, dimension)
        self.box = nn.Linear(hidden, 4)
        self.background = nn.Parameter(torch.randn(dimension))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding(x), self.box(x)


def _best(logits: Tensor, boxes: Tensor, threshold: float, nms_iou: float, most: int):
    """Scores, labels and region indices of the detections that stay, best first."""
    probabilities = logits.softmax(1)[:, 1:]
    region, label = (probabilities > threshold).nonzero(as_tuple=True)
    score = probabilities[region, label]
    whole = remove_small_boxes(boxes[region], 1.0)
    region, label, score = region[whole], label[whole], score[whole]
    kept = batched_nms(boxes[region], score, label, nms_iou)[:most]
    return score[kept], label[kept], region[kept]
