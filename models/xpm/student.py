"""XPM's robust student (Huynh et al., 2022, 3.2.3 and 3.2.4): a Mask R-CNN that learns from pseudo-masks whose noise it
estimates, and from base annotations, in the same step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN
from models.xpm import equations as xpm
from models.xpm.teacher import SUPERVISIONS, without_masks
from structures.errors import UserError

PSEUDO_LOSSES = ("cross_modal", "mask")  # L_X and L_M
STRATEGIES = ("robust", "none", "stochastic_bce", "class_score", "pixel_score", "dropout_entropy")
ALPHA_WEIGHS = {"words": ("cross_modal",), "masks": ("mask",), "both": PSEUDO_LOSSES}
_TEACH = {
    "cross_modal": ("backbone.", "roi_heads.box_head.", "roi_heads.box_predictor.embedding.", "prior."),
    "mask": ("backbone.", "roi_heads.mask_head.", "roi_heads.mask_predictor.", "prior."),
}  # the weights that each of PSEUDO_LOSSES teaches, and L_M the noise head, where noise is estimated
_ESTIMATE_NOISE = ("robust", "stochastic_bce")
_DROPOUT, _PASSES = 0.3, 8


class NoiseHead(nn.Module):
    """g_Noise before it is made positive: what the mask's last layers see, and with `takes_mask` the pseudo-mask, too,
    to one value a pixel of the mask.

    [regions, channels, side, side] and masks [regions, 2 side, 2 side] to [regions, 2 side, 2 side]; starts at `start`
    everywhere. XPM's sees the region alone, from which no one can tell that a mask is another object's: with the mask
    beside it, the head can compare the two.
    """

    def __init__(self, channels: int, takes_mask: bool, start: float = 0.0):
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(channels + 1, channels, 3, padding=1), nn.ReLU()) if takes_mask else None
        self.doubling = nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 2, 2), nn.ReLU())
        self.out = nn.Conv2d(channels // 2, 1, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, start)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        if self.look:
            shrunk = nn.functional.avg_pool2d(masks[:, None], 2)
            x = self.look(torch.cat([x, 2 * shrunk.to(x.dtype) - 1], 1))
        return self.out(self.doubling(x)).squeeze(1)


class RobustStudent(OpenVocabularyMaskRCNN):
    """The student.

    base: how many of the categories, from the first on, annotations may have. strategy: how the noise of pseudo-masks
    is met, one of STRATEGIES (XPM, Table 3); noise_input: "region" (XPM) or "region_and_mask"; noise_loss, samples: of
    Eq. 6; eta: of Eq. 7; pseudo_losses: those of PSEUDO_LOSSES that pseudo-masks teach by; pseudo_weight: of these;
    balanced: weights are divided by their mean, so that a strategy says which labels count more, not how much all of
    them count; supervision: as for models.xpm.teacher.Teacher. The others are the detector's.

    Raises ValueError for an unknown strategy, loss, alpha_weighs or supervision; UserError for "robust" without the mask loss, by which
    noise is learned, and for the mask loss with labels of a teacher that learned boxes alone.
    """

    def __init__(
        self,
        *,
        base: int,
        strategy: str = "robust",
        noise_input: str = "region",
        noise_loss: str = "likelihood",
        samples: int = 8,
        eta: float = 0.01,
        pseudo_losses: Sequence[str] = PSEUDO_LOSSES,
        pseudo_weight: float = 1.0,
        balanced: bool = False,
        alpha_weighs: str = "words",
        supervision: str = "masks",
        **detector,
    ):
        super().__init__(**detector)
        if strategy not in STRATEGIES:
            raise ValueError(f"no strategy {strategy!r}: {', '.join(STRATEGIES)}")
        if not pseudo_losses or not set(pseudo_losses) <= set(PSEUDO_LOSSES):
            raise ValueError(f"no losses {pseudo_losses!r}: one of {', '.join(PSEUDO_LOSSES)}, or both")
        if strategy == "robust" and "mask" not in pseudo_losses:
            raise UserError(
                "train_student.strategy: robust learns by the mask loss which labels are noisy; add mask to "
                "train_student.losses, or take another strategy"
            )
        if supervision == "boxes" and "mask" in pseudo_losses:
            raise UserError(
                "train_teacher.supervision: a teacher of boxes has no masks to teach; set train_student.losses to "
                "[cross_modal], with the strategy none"
            )
        if supervision not in SUPERVISIONS:
            raise ValueError(f"no supervision {supervision!r}: {', '.join(SUPERVISIONS)}")
        if alpha_weighs not in ALPHA_WEIGHS:
            raise ValueError(f"no alpha_weighs {alpha_weighs!r}: {', '.join(ALPHA_WEIGHS)}")
        self.weighed = ALPHA_WEIGHS[alpha_weighs]
        self.asked, self.supervision = tuple(pseudo_losses), supervision
        self.base, self.strategy, self.noise_loss, self.samples = base, strategy, noise_loss, samples
        self.eta, self.pseudo_weight, self.balanced = eta, pseudo_weight, balanced
        self.noise_head = NoiseHead(
            self.roi_heads.mask_predictor.conv5_mask.in_channels, noise_input == "region_and_mask"
        )
        self.register_buffer("least_noise", torch.tensor(float("inf")))  # of all average noises seen: Eq. 7's eta

    def freeze(self, parts: list[str]) -> None:
        """As any detector's. Raises UserError where no weight is left that pseudo-masks would teach: a batch without
        annotations would have nothing to learn."""
        super().freeze(parts)
        estimates_noise = "mask" in self.asked and self.strategy in _ESTIMATE_NOISE
        taught = tuple(start for name in self.asked for start in _TEACH[name]) + ("noise_head.",) * estimates_noise
        if not any(weight.requires_grad for name, weight in self.named_parameters() if name.startswith(taught)):
            raise UserError(
                f"train_student.frozen holds all that train_student.losses [{', '.join(self.asked)}] would teach; take a "
                "part out of frozen, or name another loss"
            )

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """A call in training mode: the detector's LOSSES over annotated pictures, whose weight does not depend on how many
        others there are, and what pseudo_losses gives over pseudo-masks. Every batch has them all, scalars on its device, 0
        where it has nothing to say about one or where it is not asked for, so that processes can average them.

        targets: dicts of boxes [n, 4], labels [n] from 1 on, masks [n, h, w], pseudo [n] bool (which are pseudo-masks),
        weight [n] float (a factor on their losses) and annotated [] bool (whether the others are all of the picture's
        base objects).
        """
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        losses = {name: batch.tensors.new_zeros(()) for name in LOSSES}
        annotated = [i for i, target in enumerate(targets) if target["annotated"] and (~target["pseudo"]).any()]
        if annotated:
            annotations = [_objects(targets[i], ~targets[i]["pseudo"]) for i in annotated]
            # the transform pads all pictures to one size, so those that are annotated can be picked from the maps
            maps = {name: value[annotated] for name, value in features.items()}
            part = ImageList(batch.tensors[annotated], [batch.image_sizes[i] for i in annotated])
            losses = self.detection_losses(part, maps, annotations, self.text[: self.base])
            if self.supervision == "boxes":
                losses = without_masks(losses)
        pseudo = [_objects(target, target["pseudo"]) for target in targets]
        return losses | self.pseudo_losses(features, batch.image_sizes, pseudo, self.text)

    def pseudo_losses(self, features: dict, sizes: list, targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """ "loss_cross_modal" and "loss_pseudo_mask" of pseudo-masks, L_X with alpha and L_M (Eqs. 3, 6 and 7); the mean
        of their average "noise"; the shares of alphas that are 1 ("alpha_at_bound"), and of variances that are at their
        floor or ceiling ("variance_at_bound"). targets: dicts of boxes, labels, masks and weight of each picture; a
        picture may have none."""
        regions = self.look(features, sizes, targets, text)
        weight = self.weights(regions)
        if self.balanced and len(weight):
            weight = weight / weight.mean().clamp(min=1e-6)
        of_label = regions["weight"]
        of_words, of_masks = (of_label * weight if name in self.weighed else of_label for name in PSEUDO_LOSSES)
        losses = {
            "loss_cross_modal": xpm.cross_modal_loss(regions["logits"], regions["words"], of_words),
            "loss_pseudo_mask": self.mask_loss(regions, of_masks),
        }
        for name, loss in zip(PSEUDO_LOSSES, losses):
            losses[loss] = self.pseudo_weight * losses[loss] if name in self.asked else torch.zeros_like(losses[loss])
        variance = regions["variance"].detach()
        noise, alpha = xpm.average_noise(variance), xpm.reliability(variance, self.eta)
        if self.training and len(noise):
            self.least_noise.clamp_(max=noise.min())
        objects = max(1, len(noise))
        return losses | {
            "noise": noise.sum() / objects,
            "alpha_at_bound": (alpha >= 1).float().sum() / objects,
            "variance_at_bound": xpm.share_at_bound(variance),
        }

    def look(self, features: dict, sizes: list, targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """What the student makes of pseudo-labelled regions, arguments as for pseudo_losses: logits [objects,
        categories], words [objects], mask_logits, masks and variance [objects, side, side], weight [objects] of the
        labels, pooled region features [objects, hidden], text."""
        boxes = [target["boxes"] for target in targets]
        words = torch.cat([target["labels"] for target in targets]) - 1
        embedding, _, pooled = self.embed_from(features, boxes, sizes)
        hidden = self.mask_features(features, boxes, sizes, text[words])
        mask_logits = self.roi_heads.mask_predictor(hidden).squeeze(1).float()
        side = mask_logits.shape[-1]
        masks = [
            project_masks_on_boxes(target["masks"], rois, torch.arange(len(rois), device=rois.device), side)
            for target, rois in zip(targets, boxes)
        ]
        masks = (torch.cat(masks) >= 0.5).float()
        return {
            "logits": self.name_logits(embedding, text),
            "words": words,
            "mask_logits": mask_logits,
            "masks": masks,
            "variance": xpm.noise_variance(self.noise_head(hidden, masks)),
            "weight": torch.cat([target["weight"] for target in targets]),
            "pooled": pooled,
            "text": text,
        }

    def mask_loss(self, regions: dict[str, Tensor], weight: Tensor) -> Tensor:
        """L_M: Eq. 6 where the strategy estimates noise, else Eq. 5; terms weighted, [objects]."""
        logits, masks = regions["mask_logits"], regions["masks"]
        if self.strategy in _ESTIMATE_NOISE:
            return xpm.noisy_mask_loss(logits, regions["variance"], masks, self.samples, self.noise_loss, weight)
        return xpm.mask_loss(logits, masks, weight)

    @torch.no_grad()
    def weights(self, regions: dict[str, Tensor]) -> Tensor:
        """The weight of each object by its strategy, [objects]; no gradient flows through it."""
        if not len(regions["words"]):
            return regions["weight"]
        if self.strategy == "robust":
            return xpm.reliability(regions["variance"], self.eta)
        if self.strategy == "class_score":
            return xpm.class_score(regions["logits"], regions["words"])
        if self.strategy == "pixel_score":
            return xpm.pixel_score(regions["mask_logits"])
        if self.strategy == "dropout_entropy":
            embed = self.roi_heads.box_predictor.embedding
            dropped = [nn.functional.dropout(regions["pooled"], _DROPOUT) for _ in range(_PASSES)]
            passes = [self.name_logits(embed(features), regions["text"]) for features in dropped]
            return xpm.dropout_certainty(torch.stack(passes))
        return torch.ones_like(regions["weight"])


def _objects(target: dict, chosen: Tensor) -> dict:
    """Those objects of a picture that are chosen, bool [n]."""
    names = ("boxes", "labels", "masks", "weight", "outlined")
    return {name: target[name][chosen] for name in names if name in target}
