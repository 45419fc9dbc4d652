"""Open-vocabulary Mask R-CNN (He et al., 2017; Mask-free OVIS, Eq. 8): class-agnostic boxes and masks, classes by text.

    p(r, c) = exp(h(r) . c) / (exp(h(r) . bg) + sum over k of exp(h(r) . c_k))

torchvision's parts throughout; the heads differ: one box and one mask a region, and a region's embedding h(r) is
compared with frozen text embeddings c and a background embedding bg. What bg is, and whether h(r) is scaled to unit
length, is what OVIS, OVR, XPM (3.2.1), SB (Bansal et al., 2018) and BA-RPN (Zheng et al., 2021) differ in.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import clip_boxes_to_image

from models.backbones import LAYERS
from models.detector import weighted
from models.detector.detections import best_regions
from models.detector.heads import BackgroundAwareRPNHead, EmbeddingHead, Float32RPNHead, MaskPrior
from models.detector.parts import build_parts
from models.detector.roi_pooling import know_strides
from models.pixels import COLOUR_MEAN, COLOUR_STD
from structures.errors import UserError
from structures.tensors import TensorsError, take_over

PARTS = {
    "backbone": ("backbone.body",),
    "pyramid": ("backbone.fpn",),
    "rpn": ("rpn",),
    "box_head": ("roi_heads.box_head",),
    "embedding": ("roi_heads.box_predictor.embedding", "roi_heads.box_predictor.background"),
    "mask_head": ("roi_heads.mask_head", "roi_heads.mask_predictor"),
}
LOSSES = (
    "loss_objectness",
    "loss_rpn_box_reg",
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
)  # What a student's checkpoint has besides: models/xpm/student.py.
STUDENT_ONLY = ("noise_head.", "least_noise")


def load_detector(
    tensors: dict[str, Tensor], settings: dict, source: str = "the checkpoint"
) -> "OpenVocabularyMaskRCNN":
    """The detector of a checkpoint, whichever stage trained it, to be used and not trained. source: the checkpoint's name.
    Raises TensorsError where tensors and settings are of no detector."""
    try:
        model = OpenVocabularyMaskRCNN(**settings["detector"])
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise TensorsError(f"{source} is no detector's checkpoint: no network has its settings ({why})") from error
    of_detector = {name: value for name, value in tensors.items() if not name.startswith(STUDENT_ONLY)}
    take_over(model, of_detector, source)
    return model.eval()


class OpenVocabularyMaskRCNN(nn.Module):
    """The detector, in the form of torchvision's: in training mode a call gives losses, in evaluation mode detections.

    dimension: of the text embeddings; weights: of the pretrained backbone, None to start from nothing or to load the
    whole network afterwards; frozen, trainable_layers: see build_backbone; positive_fraction: of the regions that a step
    samples in an image, how many may be objects (He et al., 2017: 0.25); background_weight: of the background in the classification
    loss (OVIS, XPM: 0.2); similarity: "cosine" (both of unit length) or "dot" (XPM), divided by the temperature;
    background: see models.detector.heads.EmbeddingHead; prior: a mask prior from the embedding head (OMP);
    box_score_thresh, box_nms_thresh, box_detections_per_img: of a call in evaluation mode, as torchvision's.
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
        trainable_layers: int = LAYERS,
        positive_fraction: float = 0.25,
        background_weight: float = 0.2,
        temperature: float = 0.05,
        similarity: str = "cosine",
        background: str = "learned",
        prior: bool = False,
        box_score_thresh: float = 0.05,
        box_nms_thresh: float = 0.5,
        box_detections_per_img: int = 100,
    ):
        super().__init__()
        parts = build_parts(backbone, weights, frozen, trainable_layers)
        self.background_weight, self.temperature, self.similarity = background_weight, temperature, similarity
        self.transform = GeneralizedRCNNTransform(min_size, max_size, COLOUR_MEAN, COLOUR_STD)
        self.backbone = parts.features
        anchors = AnchorGenerator(parts.anchors, ((0.5, 1.0, 2.0),) * len(parts.anchors))
        per_place = anchors.num_anchors_per_location()[0]
        if background == "rpn":
            rpn_head = BackgroundAwareRPNHead(parts.channels, per_place, dimension)
        else:
            rpn_head = Float32RPNHead(parts.channels, per_place)
        self.rpn = RegionProposalNetwork(
            anchors,
            rpn_head,
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n=parts.ranked,
            post_nms_top_n=parts.proposals,
            nms_thresh=0.7,
        )
        levels = list(parts.levels)
        self.roi_heads = RoIHeads(
            know_strides(parts.pooling(levels, parts.box_side, 2), parts.strides),
            parts.box_head,
            EmbeddingHead(parts.hidden, dimension, background),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=parts.sampled,
            positive_fraction=positive_fraction,
            bbox_reg_weights=None,
            score_thresh=box_score_thresh,
            nms_thresh=box_nms_thresh,
            detections_per_img=box_detections_per_img,
            mask_roi_pool=know_strides(parts.pooling(levels, parts.mask_side, 2), parts.strides),
            mask_head=parts.mask_head,
            mask_predictor=parts.mask_predictor,
        )
        self.prior = MaskPrior(parts.channels, dimension) if prior else None
        self.register_buffer("text", None, persistent=False)

    def set_vocabulary(self, text: Tensor) -> None:
        """The categories that compete in a call: their embeddings [categories, dimension], unit length. No part of the
        state dict."""
        self.text = text.to(self.roi_heads.box_predictor.embedding.weight.device)

    def forward(self, images: list[Tensor], targets: list[dict] | None = None) -> dict[str, Tensor] | list[dict]:
        """In training mode the five LOSSES of Mask R-CNN, in evaluation mode of each image its detections, best first.

        images: [3, h, w] float32 in 0..1; targets: dicts of boxes [n, 4] xyxy pixels, labels [n] from 1 on (index into
        the vocabulary, plus one) and masks [n, h, w] uint8. Detections are torchvision's: boxes [n, 4] xyxy pixels,
        labels [n] from 1 on, scores [n] and masks [n, 1, h, w], probabilities. Raises RuntimeError before
        set_vocabulary.
        """
        if self.text is None:
            raise RuntimeError("no categories compete yet: call set_vocabulary first")
        return self.losses(images, targets) if self.training else self._torchvision_detections(images)

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """A call in training mode; what the subclasses differ in."""
        batch, targets = self.transform(images, targets)
        return self.detection_losses(batch, self.backbone(batch.tensors), targets, self.text)

    def set_background(self, vector: Tensor) -> None:
        """The text embedding [dimension] of the background, of a detector with background="text"."""
        self.roi_heads.box_predictor.background.copy_(vector)

    def freeze(self, parts: list[str]) -> None:
        """Keep parts as they are: any of PARTS. Raises ValueError for another name, and for a mask head that would go on
        learning with the box head, where they share a stage (resnet50_c4)."""
        for part in parts:
            if part not in PARTS:
                raise ValueError(f"no part {part!r} of the detector: {', '.join(PARTS)}")
        shared = {*self.roi_heads.mask_head.parameters()} & {*self.roi_heads.box_head.parameters()}
        if shared and "mask_head" in parts and "box_head" not in parts:
            raise UserError(
                "frozen: the mask head of this backbone is a stage that the box head uses, too, and would go on learning; "
                "freeze box_head as well"
            )
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
        """Eq. 8 before the softmax: [regions, 1 + categories], the background first. text: [categories, dimension],
        unit length."""
        background = self.roi_heads.box_predictor.background_vector(self.rpn.head)
        with torch.autocast(embedding.device.type, enabled=False):  # divided by so little, logits need all their digits
            return self._scaled(embedding) @ torch.cat([background[None], text]).t() / self.temperature

    def name_logits(self, embedding: Tensor, text: Tensor) -> Tensor:
        """The same without the background (XPM, Eqs. 2 and 3): [regions, categories]."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self._scaled(embedding) @ text.t() / self.temperature

    def _scaled(self, embedding: Tensor) -> Tensor:
        return F.normalize(embedding.float(), dim=1) if self.similarity == "cosine" else embedding.float()

    def embed(self, features: dict, boxes: list[Tensor], sizes: list) -> tuple[Tensor, Tensor]:
        """h(r) [regions, dimension] and box offsets [regions, 4] of boxes [n, 4] xyxy, pixels of the batch, an image
        each."""
        embedding, deltas, _ = self.embed_from(features, boxes, sizes)
        return embedding, deltas

    def embed_from(self, features: dict, boxes: list[Tensor], sizes: list) -> tuple[Tensor, Tensor, Tensor]:
        """embed, and the region features [regions, hidden] that it is made from."""
        heads = self.roi_heads
        cells = heads.box_roi_pool(features, boxes, sizes)
        pooled = heads.box_head(cells)
        embedding, deltas = heads.box_predictor(pooled)
        deltas = deltas.float()  # boxes are moved in their type
        return (embedding + self.prior.embed(cells) if self.prior else embedding), deltas, pooled

    def mask_features(self, features: dict, boxes: list[Tensor], sizes: list, text: Tensor | None) -> Tensor:
        """What the mask's last layers see of boxes, an image each. text: [regions, dimension] of the names of the
        boxes, for a prior."""
        pooled = self.roi_heads.mask_roi_pool(features, boxes, sizes)
        hidden = self.roi_heads.mask_head(pooled)
        return hidden + self.prior(pooled, text, hidden.shape[-1]) if self.prior else hidden

    def mask_logits(self, features: dict, boxes: list[Tensor], sizes: list, text: Tensor | None) -> Tensor:
        """The mask head's output [regions, 1, side, side] for boxes; arguments as for mask_features."""
        return self.roi_heads.mask_predictor(self.mask_features(features, boxes, sizes, text)).float()

    def detection_losses(
        self, batch: ImageList, features: dict, targets: list[dict], text: Tensor, classify: Callable | None = None
    ) -> dict[str, Tensor]:
        """The LOSSES of pictures that went through the transform and the backbone.

        targets: as of a call, boxes and masks in pixels of the batch; text: [categories, dimension], the categories
        that compete; classify: another classification loss, of class logits [regions, 1 + categories], labels [regions]
        and the sampled regions of each picture. Where targets have loss_weight [n], objects count so much (not in classify).
        Where one has outlined [n] bool, masks of the others are not learned.
        """
        proposals, rpn_losses = self.rpn(batch, features, targets)
        heads = self.roi_heads
        proposals, matched, labels, offsets = heads.select_training_samples(proposals, targets)
        embedding, deltas = self.embed(features, proposals, batch.image_sizes)
        positives = [label > 0 for label in labels]
        boxes = [proposal[positive] for proposal, positive in zip(proposals, positives)]
        objects = [index[positive] for index, positive in zip(matched, positives)]
        weights = [target["loss_weight"][index] for target, index in zip(targets, objects) if "loss_weight" in target]
        labels, offsets, positive = torch.cat(labels), torch.cat(offsets), torch.cat(positives)
        logits = self.class_logits(embedding, text)
        of_names = torch.ones(1 + len(text), device=text.device)
        of_names[0] = self.background_weight
        outlined = [_outlined(target)[index] for target, index in zip(targets, objects)]
        boxes, objects = ([of[kept] for of, kept in zip(values, outlined)] for values in (boxes, objects))
        outlined = torch.cat(outlined)
        mask_logits = self.mask_logits(features, boxes, batch.image_sizes, text[labels[positive][outlined] - 1])
        masks = [target["masks"] for target in targets]
        if weights:
            weights = torch.cat(weights)
            return {
                **rpn_losses,
                "loss_classifier": weighted.classification_loss(logits, labels, of_names, positive, weights),
                "loss_box_reg": weighted.box_loss(deltas[positive], offsets[positive], weights, len(labels)),
                "loss_mask": weighted.mask_loss(mask_logits, boxes, masks, objects, weights[outlined]),
            }
        if classify:
            loss_classifier = classify(logits, labels, proposals)
        else:
            loss_classifier = F.cross_entropy(logits, labels, weight=of_names, reduction="sum") / max(1, len(labels))
        loss_box_reg = F.smooth_l1_loss(deltas[positive], offsets[positive], beta=1 / 9, reduction="sum")
        the_only_channel = [torch.zeros_like(target["labels"]) for target in targets]
        return {
            **rpn_losses,
            "loss_classifier": loss_classifier,
            "loss_box_reg": loss_box_reg / max(1, len(labels)),
            "loss_mask": maskrcnn_loss(mask_logits, boxes, masks, the_only_channel, objects),
        }

    def regions(self, batch: ImageList, features: dict) -> tuple[list[Tensor], Tensor]:
        """Region proposals moved by the box head, [n, 4] xyxy of each image, and their h(r), [all regions,
        dimension]."""
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
        """The objects of one image, once for each set of categories that compete.

        image: [3, h, w] float32 in 0..1; vocabularies: {any name: [categories, dimension]}; the numbers: as for
        best_regions. Returns for each vocabulary boxes [n, 4] xyxy pixels, labels [n] (index into its categories),
        scores [n] descending, masks [n, h, w] bool.
        """
        thresholds = {"score_threshold": score_threshold, "nms_iou": nms_iou, "max_detections": max_detections}
        [detections] = self.detect_in([image], vocabularies, **thresholds)
        return detections

    @torch.inference_mode()
    def detect_in(
        self, images: list[Tensor], vocabularies: dict[str, Tensor], **thresholds
    ) -> list[dict[str, dict[str, Tensor]]]:
        """detect for several images at once; thresholds: score_threshold, nms_iou and max_detections, as there."""
        return self._detections(images, vocabularies, mask_threshold=0.5, **thresholds)

    @torch.inference_mode()
    def name_probabilities(
        self, image: Tensor, boxes: Tensor, text: Tensor, *, own_regions: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What regions of one image are called: boxes [n, 4] xyxy pixels, those that are given and with own_regions after them
        the detector's own, and their probabilities [n, categories] beside the background's.

        image: [3, h, w] float32 in 0..1; boxes: [m, 4] xyxy pixels; text: [categories, dimension], those that compete.
        """
        batch, _ = self.transform([image])
        features = self.backbone(batch.tensors)
        (height, width), (resized_height, resized_width) = image.shape[-2:], batch.image_sizes[0]
        scale = boxes.new_tensor([resized_width / width, resized_height / height] * 2)
        regions = boxes * scale
        if own_regions:
            regions = torch.cat([regions, self.regions(batch, features)[0][0]])
        embedding, _ = self.embed(features, [regions], batch.image_sizes)
        return regions / scale, self.class_logits(embedding, text).softmax(1)[:, 1:]

    def _torchvision_detections(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        heads = self.roi_heads
        results = self._detections(
            images,
            {"vocabulary": self.text},
            mask_threshold=None,
            score_threshold=heads.score_thresh,
            nms_iou=heads.nms_thresh,
            max_detections=heads.detections_per_img,
        )
        detections = [result["vocabulary"] for result in results]
        return [d | {"labels": d["labels"] + 1, "masks": d["masks"][:, None]} for d in detections]

    def _detections(
        self, images: list[Tensor], vocabularies: dict[str, Tensor], *, mask_threshold: float | None, **thresholds
    ) -> list[dict[str, dict[str, Tensor]]]:
        """detect_in; without a mask threshold masks are probabilities."""
        batch, _ = self.transform(images)
        features = self.backbone(batch.tensors)
        boxes_of_images, embedding = self.regions(batch, features)
        best, mask_boxes, mask_rows, mask_text = [], [], [], []
        for boxes, h in zip(boxes_of_images, embedding.split([len(boxes) for boxes in boxes_of_images])):
            best.append(
                {
                    name: best_regions(self.class_logits(h, text), boxes, **thresholds)
                    for name, text in vocabularies.items()
                }
            )
            regions = torch.cat([region for _, _, region in best[-1].values()])
            if self.prior:  # a region's mask depends on its name
                rows = torch.arange(len(regions), device=regions.device)
                mask_text += [text[best[-1][name][1]] for name, text in vocabularies.items()]
            else:
                regions, rows = regions.unique(return_inverse=True)
            mask_boxes.append(boxes[regions])
            mask_rows.append(rows.split([len(region) for _, _, region in best[-1].values()]))
        logits = self.mask_logits(features, mask_boxes, batch.image_sizes, torch.cat(mask_text) if mask_text else None)
        detections = []
        for i, mask_logits in enumerate(logits.split([len(boxes) for boxes in mask_boxes])):
            height, width = images[i].shape[-2:]
            resized_height, resized_width = batch.image_sizes[i]
            boxes = boxes_of_images[i]
            scale = boxes.new_tensor([width / resized_width, height / resized_height] * 2)
            masks = paste_masks_in_image(mask_logits.sigmoid(), mask_boxes[i] * scale, (height, width)).squeeze(1)
            masks = masks if mask_threshold is None else masks > mask_threshold
            detections.append(
                {
                    name: {"boxes": boxes[region] * scale, "labels": labels, "scores": scores, "masks": masks[rows]}
                    for (name, (scores, labels, region)), rows in zip(best[i].items(), mask_rows[i])
                }
            )
        return detections


def _outlined(target: dict) -> Tensor:
    """[n] bool, which objects of a picture have a mask."""
    return target["outlined"] if "outlined" in target else torch.ones_like(target["labels"], dtype=torch.bool)
