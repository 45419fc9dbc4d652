"""Students that label pictures by vision alone: Soft-Teacher (Xu et al., 2021) and Unbiased-Teacher (Liu et al., 2021),
with embedding heads, as XPM's tables 1 and 2 compare them.

A teacher, the moving average of the student, detects with all categories in the picture as it is; its confident
detections teach the student on the same picture with changed colours and parts cut out. Captions are not looked at.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms import v2

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN
from models.xpm.teacher import SUPERVISIONS, without_masks

SELF_TRAINED = ("soft_teacher", "unbiased_teacher")
_FOCUS = 1.5  # gamma of the focal loss (Unbiased-Teacher)
_JITTERS, _JITTER, _STABLE = (
    4,
    0.06,
    0.02,
)  # boxes moved, by so much of their size; the variation allowed (Soft-Teacher)
_NMS_IOU, _MAX_LABELS = 0.5, 20  # of the teacher's detections in a picture

# Unbiased-Teacher's strong augmentation (Liu et al., 2021, appendix)
_STRONG = v2.Compose(
    [
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(p=0.2),
        v2.RandomApply([v2.GaussianBlur(9, sigma=(0.1, 2.0))], p=0.5),
        v2.RandomErasing(p=0.7, scale=(0.05, 0.2), ratio=(0.3, 3.3), value="random"),
        v2.RandomErasing(p=0.5, scale=(0.02, 0.2), ratio=(0.1, 6.0), value="random"),
        v2.RandomErasing(p=0.3, scale=(0.02, 0.2), ratio=(0.05, 8.0), value="random"),
    ]
)


def augment_strongly(picture: Tensor) -> Tensor:
    """Colours jittered or greyed, blurred, parts cut out, by torch's global generators: [3, h, w] in 0..1, at least 5
    pixels a side."""
    return _STRONG(picture).clamp(0, 1)


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(1 - p)^gamma times the cross-entropy, averaged (Lin et al., 2017; Unbiased-Teacher, 3.2). logits: [n, classes];
    labels: [n]."""
    entropy = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - (-entropy).exp()) ** _FOCUS * entropy).mean()


class SelfTrained(OpenVocabularyMaskRCNN):
    """A student with its moving-average teacher; start_teaching makes the teacher, update_teacher is to follow each
    step.

    base: how many of the categories, from the first on, annotations may have; strategy: "soft_teacher" (the
    background's loss is weighted by the teacher's probability of it; boxes are learned in steps whose pictures all have
    a label whose box is stable when jittered) or "unbiased_teacher" (focal loss, no boxes); confidence_threshold: score
    from which a detection is a label; ema_decay: of the moving average; pseudo_weight: of the losses of labels;
    supervision: as for models.xpm.teacher.Teacher, of the annotations and of the labels.
    """

    def __init__(
        self,
        *,
        base: int,
        strategy: str,
        confidence_threshold: float,
        ema_decay: float,
        pseudo_weight: float,
        supervision: str = "masks",
        **detector,
    ):
        super().__init__(**detector)
        if strategy not in SELF_TRAINED:
            raise ValueError(f"no strategy {strategy!r}: {', '.join(SELF_TRAINED)}")
        if supervision not in SUPERVISIONS:
            raise ValueError(f"no supervision {supervision!r}: {', '.join(SUPERVISIONS)}")
        self.base, self.strategy, self.pseudo_weight = base, strategy, pseudo_weight
        self.supervision = supervision
        self.confidence_threshold = confidence_threshold
        self._average = get_ema_multi_avg_fn(ema_decay)
        self.teacher: OpenVocabularyMaskRCNN | None = None

    def start_teaching(self) -> None:
        """The student's weights of now are the teacher's first."""
        self.teacher = copy.deepcopy(self).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "SelfTrained":
        """As any module's; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher:
            self.teacher.eval()
        return self

    @torch.no_grad()
    def update_teacher(self) -> None:
        """teacher = ema_decay teacher + (1 - ema_decay) student, weight by weight."""
        student = dict(self.named_parameters())
        names, averages = zip(*self.teacher.named_parameters())
        self._average(averages, [student[name] for name in names], None)

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """A call in training mode: the detector's LOSSES over annotated pictures, the same over the teacher's labels
        ("…_pseudo"), and how many labels a picture had ("labels", a float). Every batch has them all, 0 where it has
        nothing to say about one. targets: as RobustStudent.losses takes them; pseudo-masks are not used."""
        none = 0.0 * next(weight for weight in self.parameters() if weight.requires_grad).sum()  # a graph to go back in
        losses = {name: none for name in (*LOSSES, *(f"{name}_pseudo" for name in LOSSES))}
        annotated = [i for i, target in enumerate(targets) if target["annotated"] and (~target["pseudo"]).any()]
        if annotated:
            names = ("boxes", "labels", "masks", "outlined")
            annotations = [
                {name: targets[i][name][~targets[i]["pseudo"]] for name in names if name in targets[i]}
                for i in annotated
            ]
            batch, annotations = self.transform([images[i] for i in annotated], annotations)
            features = self.backbone(batch.tensors)
            losses |= self.detection_losses(batch, features, annotations, self.text[: self.base])
        labels = self.labels(images, self.text)
        counts = [len(label["boxes"]) for label in labels]
        losses["labels"] = images[0].new_tensor(sum(counts) / len(images))
        labelled = [i for i, count in enumerate(counts) if count]
        if labelled:
            pictures = [augment_strongly(images[i]) for i in labelled]
            pseudo = self._label_losses(pictures, [labels[i] for i in labelled])
            losses |= {f"{name}_pseudo": self.pseudo_weight * loss for name, loss in pseudo.items()}
        return without_masks(losses) if self.supervision == "boxes" else losses

    def _label_losses(self, pictures: list[Tensor], labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses over labels that the strategy learns from."""
        batch, labels = self.transform(pictures, labels)
        classify = self._focal if self.strategy == "unbiased_teacher" else self._soft(batch, self.text)
        losses = self.detection_losses(batch, self.backbone(batch.tensors), labels, self.text, classify)
        if self.strategy == "soft_teacher" and all(label["stable"].any() for label in labels):
            return losses
        return {name: loss for name, loss in losses.items() if not name.endswith("box_reg")}

    @torch.no_grad()
    def labels(self, images: list[Tensor], text: Tensor) -> list[dict[str, Tensor]]:
        """The teacher's confident detections in each picture, as targets, and stable [n] bool: whether a box stays
        where it is when jittered ("soft_teacher"; False with the other)."""
        thresholds = {"nms_iou": _NMS_IOU, "max_detections": _MAX_LABELS, "score_threshold": self.confidence_threshold}
        labels = []
        for image, results in zip(images, self.teacher.detect_in(images, {"all": text}, **thresholds)):
            detections = results["all"]
            large = (detections["boxes"][:, 2:] - detections["boxes"][:, :2]).amin(1) >= 1
            label = {
                "boxes": detections["boxes"][large],
                "labels": detections["labels"][large] + 1,
                "masks": detections["masks"][large].to(torch.uint8),
            }
            if self.strategy == "soft_teacher" and len(label["boxes"]):
                label["stable"] = self.box_jitter_variation(image, label["boxes"]) < _STABLE
            else:
                label["stable"] = torch.zeros_like(label["labels"], dtype=torch.bool)
            labels.append(label)
        return labels

    @torch.no_grad()
    def box_jitter_variation(self, image: Tensor, boxes: Tensor) -> Tensor:
        """How much boxes vary that are moved and refined again by the teacher (Soft-Teacher, 3.3): their standard
        deviation over their size, [n]. image: [3, h, w] in 0..1; boxes: [n, 4] xyxy pixels, at least one."""
        batch, _ = self.teacher.transform([image])
        scale = batch.image_sizes[0][0] / image.shape[-2]
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        offsets = [_JITTER * size * (2 * torch.rand(boxes.shape).to(boxes) - 1) for _ in range(_JITTERS)]
        jittered = torch.cat([(boxes + offset) * scale for offset in offsets])
        _, deltas = self.teacher.embed(self.teacher.backbone(batch.tensors), [jittered], batch.image_sizes)
        refined = self.teacher.roi_heads.box_coder.decode(deltas, [jittered]).squeeze(1).view(_JITTERS, -1, 4) / scale
        return (refined.std(0) / size).mean(1)

    @staticmethod
    def _focal(logits: Tensor, labels: Tensor, proposals: list[Tensor]) -> Tensor:
        return focal_loss(logits, labels)

    def _soft(self, batch: ImageList, text: Tensor):
        """Cross-entropy whose background terms weigh as much as the teacher, too, takes the region for background."""

        def classify(logits: Tensor, labels: Tensor, proposals: list[Tensor]) -> Tensor:
            with torch.no_grad():
                features = self.teacher.backbone(batch.tensors)
                embedding, _ = self.teacher.embed(features, proposals, batch.image_sizes)
                background = self.teacher.class_logits(embedding, text).softmax(1)[:, 0]
            weight = torch.where(labels > 0, 1.0, self.background_weight * background)
            return (weight * F.cross_entropy(logits, labels, reduction="none")).sum() / weight.sum().clamp(min=1e-6)

        return classify
