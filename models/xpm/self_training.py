"""Students that label pictures by vision alone: Soft-Teacher (Xu et al., 2021) and Unbiased-Teacher (Liu et al., 2021), with
embedding heads, as XPM's tables 1 and 2 compare them.

A teacher, the moving average of the student, detects with all names in the picture as it is; what it is sure of teaches the
student on the same picture with changed colours and parts cut out. Captions are not looked at.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN

SELF_TRAINED = ("soft_teacher", "unbiased_teacher")
_FOCUS, _JITTERS, _JITTER, _STEADY = 1.5, 4, 0.06, 0.02


@torch.no_grad()
def follow(teacher: torch.nn.Module, student: torch.nn.Module, decay: float) -> None:
    """teacher = decay teacher + (1 - decay) student, weight by weight."""
    mine = dict(student.named_parameters())
    for name, weight in teacher.named_parameters():
        weight.mul_(decay).add_(mine[name], alpha=1 - decay)


def changed(picture: Tensor) -> Tensor:
    """Brightness, contrast and colour changed, and a part cut out, by torch's global generator: [3, h, w] in 0..1."""
    mean = picture.mean((1, 2), keepdim=True)
    gains = 0.6 + 0.8 * torch.rand(3, 1, 1).to(picture.device)
    result = ((picture - mean) * (0.6 + 0.8 * float(torch.rand(()))) + mean) * gains
    height, width = picture.shape[-2:]
    y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    result[:, y : y + height // 5, x : x + width // 5] = float(torch.rand(()))
    return result.clamp(0, 1)


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(1 - p)^gamma times the cross-entropy, averaged (Lin et al., 2017; Unbiased-Teacher, 3.2)."""
    entropy = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - (-entropy).exp()) ** _FOCUS * entropy).mean()


class SelfTrained(OpenVocabularyMaskRCNN):
    """A student with its moving-average teacher.

    base: how many of the names, from the first on, annotations may have; strategy: "soft_teacher" (the background's loss
    is weighted by the teacher's probability of it; boxes are learned in steps whose pictures all have a label that stays
    where it is when jittered)
    or "unbiased_teacher" (focal loss, no boxes); sure: score from which a detection is a label; decay: of the moving
    average; pseudo_weight: of the losses of labels.
    """

    def __init__(self, *, base: int, strategy: str, sure: float, decay: float, pseudo_weight: float, **detector):
        super().__init__(**detector)
        self.base, self.strategy, self.sure, self.decay = base, strategy, sure, decay
        self.pseudo_weight = pseudo_weight
        self.teacher: OpenVocabularyMaskRCNN | None = None

    def start_teaching(self) -> None:
        """The student's weights of now are the teacher's first."""
        self.teacher = copy.deepcopy(self).eval().requires_grad_(False)

    def losses(self, images: list[Tensor], targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """The detector's losses over annotated pictures, the same over what the teacher is sure of ("…_pseudo"), and how
        many labels a picture had ("labels"). Arguments as RobustStudent.losses takes them; pseudo-masks are not used."""
        follow(self.teacher, self, self.decay)
        found = {}
        drawn = [i for i, target in enumerate(targets) if target["annotated"] and (~target["pseudo"]).any()]
        if drawn:
            real = [
                {key: targets[i][key][~targets[i]["pseudo"]] for key in ("boxes", "labels", "masks")} for i in drawn
            ]
            found = super().losses([images[i] for i in drawn], real, text[: self.base])
        labels = self.labels(images, text)
        kept = [i for i, label in enumerate(labels) if len(label["boxes"])]
        count = torch.tensor(sum(len(label["boxes"]) for label in labels) / len(images))
        if kept:
            pictures = [changed(images[i]) for i in kept]
            batch, made = self.transform(pictures, [labels[i] for i in kept])
            classify = self._focal if self.strategy == "unbiased_teacher" else self._soft(batch, text)
            losses = self.detection_losses(batch, self.backbone(batch.tensors), made, text, classify)
            if self.strategy == "unbiased_teacher" or not all(label["steady"].any() for label in made):
                losses = {name: loss for name, loss in losses.items() if not name.endswith("box_reg")}
            found |= {f"{name}_pseudo": self.pseudo_weight * loss for name, loss in losses.items()}
        return found | {"labels": count}

    @torch.no_grad()
    def labels(self, images: list[Tensor], text: Tensor) -> list[dict[str, Tensor]]:
        """What the teacher is sure of in each picture, as targets; steady [n] bool: whether the box stays when jittered."""
        made = []
        for image, found in zip(images, self.teacher.detect_in(images, {"all": text}, self.sure, 0.5, 20)):
            seen = found["all"]
            whole = (seen["boxes"][:, 2:] - seen["boxes"][:, :2]).amin(1) >= 1
            target = {"boxes": seen["boxes"], "labels": seen["labels"] + 1, "masks": seen["masks"].to(torch.uint8)}
            made.append({key: value[whole].clone() for key, value in target.items()})
            made[-1]["steady"] = self._steady(image, made[-1]["boxes"])
        return made

    def _steady(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Soft-Teacher's box jittering: moved boxes, refined again by the teacher, vary less than _STEADY of their size."""
        if self.strategy != "soft_teacher" or not len(boxes):
            return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        batch, _ = self.teacher.transform([image])
        scale = batch.image_sizes[0][0] / image.shape[-2]
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        moved = [
            (boxes + _JITTER * size * (2 * torch.rand(boxes.shape).to(boxes) - 1)) * scale for _ in range(_JITTERS)
        ]
        jittered = torch.cat(moved)
        _, deltas = self.teacher.embed(self.teacher.backbone(batch.tensors), [jittered], batch.image_sizes)
        refined = self.teacher.roi_heads.box_coder.decode(deltas, [jittered]).squeeze(1).view(_JITTERS, -1, 4) / scale
        return (refined.std(0) / size).mean(1) < _STEADY

    @staticmethod
    def _focal(logits: Tensor, labels: Tensor, proposals: list[Tensor]) -> Tensor:
        return focal_loss(logits, labels)

    def _soft(self, batch, text: Tensor):
        """Cross-entropy whose background terms weigh as much as the teacher, too, takes the region for background."""

        def classify(logits: Tensor, labels: Tensor, proposals: list[Tensor]) -> Tensor:
            with torch.no_grad():
                features = self.teacher.backbone(batch.tensors)
                embedding, _ = self.teacher.embed(features, proposals, batch.image_sizes)
                sure = self.teacher.class_logits(embedding, text).softmax(1)[:, 0]
            weight = torch.where(labels > 0, 1.0, self.background_weight * sure)
            return (weight * F.cross_entropy(logits, labels, reduction="none")).sum() / weight.sum().clamp(min=1e-6)

        return classify
