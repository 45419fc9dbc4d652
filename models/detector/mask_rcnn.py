"""Open-vocabulary Mask R-CNN (He et al., 2017; Mask-free OVIS, Eq. 8): class-agnostic boxes and masks, classes by text.

    p(r, c) = exp(h(r) . c) / (exp(h(r) . bg) + sum over k of exp(h(r) . c_k))

torchvision's parts throughout; the heads differ: one box and one mask a region, and a region's embedding h(r) is
compared with frozen text embeddings c and a background embedding bg. What bg is, and whether h(r) is scaled to unit length,
is what OVIS, OVR, XPM (3.2.1), SB (Bansal et al., 2018) and BA-RPN (Zheng et al., 2021) differ in.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from models.detector.heads import BackgroundAwareRPNHead, MaskPrior, Predictor
from models.detector.parts import build_parts
from models.pixels import COLOUR_MEAN, COLOUR_STD

PARTS = {
    "backbone": ("backbone.body",),
    "pyramid": ("backbone.fpn",),
    "rpn": ("rpn",),
    "box_head": ("roi_heads.box_head",),
    "embedding": ("roi_heads.box_predictor.embedding", "roi_heads.box_predictor.background"),
    "mask_head": ("roi_heads.mask_head", "roi_heads.mask_predictor"),
}


STUDENT_ONLY = ("noise_head.", "least_noise", "clamped")  # what a student's checkpoint has besides: models/student.py


def load_detector(tensors: dict[str, Tensor], settings: dict) -> "OpenVocabularyMaskRCNN":
    """The detector of a checkpoint, whichever stage trained it, to be used and not trained."""
    model = OpenVocabularyMaskRCNN(**settings["detector"])
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(STUDENT_ONLY)})
    return model.eval()


class OpenVocabularyMaskRCNN(nn.Module):
    """The detector.

    dimension: of the text embeddings; weights: of the pretrained backbone, None to start from nothing or to load the
    whole network afterwards; frozen: see build_backbone; background_weight: of the background in the classification loss
    (OVIS, XPM: 0.2); similarity: "cosine" (both of unit length) or "dot" (XPM), divided by the temperature; background:
    see models.detector.heads.Predictor; prior: a mask prior from the embedding head (OMP).
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
        similarity: str = "cosine",
        background: str = "learned",
        prior: bool = False,
    ):
        super().__init__()
        parts = build_parts(backbone, weights, frozen)
        self.background_weight, self.temperature, self.similarity = background_weight, temperature, similarity
        self.transform = GeneralizedRCNNTransform(min_size, max_size, COLOUR_MEAN, COLOUR_STD)
        self.backbone = parts.features
        anchors = AnchorGenerator(parts.anchors, ((0.5, 1.0, 2.0),) * len(parts.anchors))
        per_place = anchors.num_anchors_per_location()[0]
        aware = background == "rpn"
        rpn_head = (BackgroundAwareRPNHead if aware else RPNHead)(parts.channels, per_place, *[dimension] * aware)
        counts = parts.proposals
        self.rpn = RegionProposalNetwork(anchors, rpn_head, 0.7, 0.3, 256, 0.5, counts, counts, 0.7)
        names = list(parts.levels)
        self.roi_heads = RoIHeads(
            parts.pooling(names, parts.box_side, 2),
            parts.box_head,
            Predictor(parts.hidden, dimension, background),
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
        self.prior = MaskPrior(parts.channels, dimension) if prior else None

    def freeze(self, parts: list[str]) -> None:
        """Keep parts as they are: any of PARTS. Raises ValueError for another name."""
        for part in parts:
            if part not in PARTS:
                raise ValueError(f"no part {part!r} of the detector: {', '.join(PARTS)}")
        still = tuple(prefix for part in parts for prefix in PARTS[part])
        for name, weight in self.named_parameters():
            if name.startswith(still):
                weight.requires_grad_(False)

    def start_from(self, tensors: dict[str, Tensor]) -> None:
        """Take over what captions taught another network of the same sizes: all but what tells boxes and masks."""
        taught = tuple(prefix for part in ("backbone", "pyramid", "box_head") for prefix in PARTS[part])
        taught = (*taught, "roi_heads.box_predictor.embedding")
        self.load_state_dict({name: value for name, value in tensors.items() if name.startswith(taught)}, strict=False)

    def class_logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Eq. 8 before the softmax: [regions, 1 + names], the background first. text: [names, dimension], unit length."""
        background = self.roi_heads.box_predictor.background_vector(self.rpn.head)
        with torch.autocast(embedding.device.type, enabled=False):  # divided by so little, logits need all their digits
            return self._scaled(embedding) @ torch.cat([background[None], text]).t() / self.temperature

    def name_logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """The same without the background (XPM, Eqs. 2 and 3): [regions, names]."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self._scaled(embedding) @ text.t() / self.temperature

    def _scaled(self, embedding: Tensor) -> Tensor:
        return F.normalize(embedding.float(), dim=1) if self.similarity == "cosine" else embedding.float()

    def embed(self, features: dict, boxes: list[Tensor], sizes: list) -> tuple[Tensor, Tensor]:
        """h(r) [regions, dimension] and box offsets [regions, 4] of boxes [n, 4] xyxy, pixels of the batch, an image each."""
        embedding, deltas, _ = self.embed_from(features, boxes, sizes)
        return embedding, deltas

    def embed_from(self, features: dict, boxes: list[Tensor], sizes: list) -> tuple[Tensor, Tensor, Tensor]:
        """embed, and the region features [regions, hidden] that it is made from."""
        heads = self.roi_heads
        cells = heads.box_roi_pool(features, boxes, sizes)
        pooled = heads.box_head(cells)
        embedding, deltas = heads.box_predictor(pooled)
        return (embedding + self.prior.embed(cells) if self.prior else embedding), deltas, pooled

    def mask_features(self, features: dict, boxes: list[Tensor], sizes: list, text: Tensor | None) -> Tensor:
        """What the mask's last layers see of boxes, an image each. text: [regions, dimension] of the names of the boxes,
        for a prior."""
        pooled = self.roi_heads.mask_roi_pool(features, boxes, sizes)
        hidden = self.roi_heads.mask_head(pooled)
        return hidden + self.prior(pooled, text) if self.prior else hidden

    def mask_logits(self, features: dict, boxes: list[Tensor], sizes: list, text: Tensor | None) -> Tensor:
        """The mask head's output [regions, 1, side, side] for boxes; arguments as for mask_features."""
        return self.roi_heads.mask_predictor(self.mask_features(features, boxes, sizes, text))

    def losses(self, images: list[Tensor], targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN.

        images: [3, h, w] float32 in 0..1; targets: dicts of boxes [n, 4] xyxy, labels [n] from 1 on (index into text,
        plus one) and masks [n, h, w] uint8; text: [names, dimension].
        """
        batch, targets = self.transform(images, targets)
        return self.detection_losses(batch, self.backbone(batch.tensors), targets, text)

    def detection_losses(
        self, batch: ImageList, features: dict, targets: list[dict], text: Tensor, classify: Callable | None = None
    ) -> dict[str, Tensor]:
        """losses, of pictures that went through the transform and the backbone. classify: another classification loss, of
        class logits, labels and the sampled regions of each picture."""
        proposals, rpn = self.rpn(batch, features, targets)
        heads = self.roi_heads
        proposals, matched, labels, offsets = heads.select_training_samples(proposals, targets)
        embedding, deltas = self.embed(features, proposals, batch.image_sizes)
        labels, offsets = torch.cat(labels), torch.cat(offsets)
        logits, positive = self.class_logits(embedding, text), labels > 0
        if classify:
            loss_classifier = classify(logits, labels, proposals)
        else:
            weight = torch.ones(1 + len(text), device=text.device)
            weight[0] = self.background_weight
            loss_classifier = F.cross_entropy(logits, labels, weight=weight)
        masks, chosen = [], []
        for proposal, index, label in zip(proposals, matched, labels.split([len(p) for p in proposals])):
            masks.append(proposal[label > 0])
            chosen.append(index[label > 0])
        mask_logits = self.mask_logits(features, masks, batch.image_sizes, text[labels[positive] - 1])
        agnostic = [torch.zeros_like(target["labels"]) for target in targets]
        return {
            **rpn,
            "loss_classifier": loss_classifier,
            "loss_box_reg": F.smooth_l1_loss(deltas[positive], offsets[positive], beta=1 / 9, reduction="sum")
            / max(1, len(labels)),
            "loss_mask": maskrcnn_loss(mask_logits, masks, [target["masks"] for target in targets], agnostic, chosen),
        }

    def regions(self, batch: ImageList, features: dict) -> tuple[list[Tensor], Tensor]:
        """Region proposals moved by the box head, [n, 4] xyxy of each image, and their h(r), [all regions, dimension]."""
        proposals, _ = self.rpn(batch, features)
        embedding, deltas = self.embed(features, proposals, batch.image_sizes)
        moved = self.roi_heads.box_coder.decode(deltas, proposals).squeeze(1).split([len(p) for p in proposals])
        return [clip_boxes_to_image(boxes, size) for boxes, size in zip(moved, batch.image_sizes)], embedding

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
        [found] = self.detect_in([image], vocabularies, score_threshold, nms_iou, max_detections)
        return found

    @torch.inference_mode()
    def detect_in(
        self, images: list[Tensor], vocabularies: dict[str, Tensor], threshold: float, nms_iou: float, most: int
    ) -> list[dict[str, dict[str, Tensor]]]:
        """detect for several images at once."""
        batch, _ = self.transform(images)
        features = self.backbone(batch.tensors)
        proposed, embedding = self.regions(batch, features)
        best, chosen, named = [], [], []
        for boxes, h in zip(proposed, embedding.split([len(boxes) for boxes in proposed])):
            best.append(
                {
                    name: _best(self.class_logits(h, text), boxes, threshold, nms_iou, most)
                    for name, text in vocabularies.items()
                }
            )
            regions = torch.cat([index for _, _, index in best[-1].values()])
            if self.prior:  # a region's mask depends on its name
                place = torch.arange(len(regions), device=regions.device)
                named += [text[best[-1][name][1]] for name, text in vocabularies.items()]
            else:
                regions, place = regions.unique(return_inverse=True)
            chosen.append((boxes[regions], place))
        logits = self.mask_logits(
            features, [boxes for boxes, _ in chosen], batch.image_sizes, torch.cat(named) if named else None
        )
        found = []
        parts = logits.split([len(boxes) for boxes, _ in chosen])
        for image, size, boxes, rivals, (seen, place), part in zip(
            images, batch.image_sizes, proposed, best, chosen, parts
        ):
            height, width = image.shape[-2:]
            scale = boxes.new_tensor([width / size[1], height / size[0]] * 2)
            masks = paste_masks_in_image(part.sigmoid(), seen * scale, (height, width)).squeeze(1) > 0.5
            places = place.split([len(index) for _, _, index in rivals.values()])
            found.append(
                {
                    name: {"boxes": boxes[index] * scale, "labels": labels, "scores": scores, "masks": masks[own]}
                    for (name, (scores, labels, index)), own in zip(rivals.items(), places)
                }
            )
        return found


def _best(logits: Tensor, boxes: Tensor, threshold: float, nms_iou: float, most: int):
    """Scores, labels and region indices of the detections that stay, best first."""
    probabilities = logits.softmax(1)[:, 1:]
    region, label = (probabilities > threshold).nonzero(as_tuple=True)
    score = probabilities[region, label]
    whole = remove_small_boxes(boxes[region], 1.0)
    region, label, score = region[whole], label[whole], score[whole]
    kept = batched_nms(boxes[region], score, label, nms_iou)[:most]
    return score[kept], label[kept], region[kept]
