"""XPM's robust student (Huynh et al., 2022, 3.2.3 and 3.2.4): a Mask R-CNN that learns from pseudo-masks whose noise it
estimates, and from base annotations, in the same step."""

import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm import equations as xpm

STRATEGIES = ("robust", "none", "stochastic_bce", "class_score", "pixel_score", "dropout_entropy")
_DROPOUT, _PASSES = 0.3, 8


class NoiseHead(nn.Module):
    """g_Noise before it is made positive: what the mask's last layers see, and with `sees_mask` the pseudo-mask, too, to
    one value a pixel of the mask.

    [regions, channels, side, side] and masks [regions, 2 side, 2 side] to [regions, 2 side, 2 side]; starts at `start`
    everywhere. XPM's sees the region alone, from which no one can tell that a mask is another object's: with the mask
    beside it, the head can compare the two.
    """

    def __init__(self, channels: int, sees_mask: bool, start: float = 0.0):
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(channels + 1, channels, 3, padding=1), nn.ReLU()) if sees_mask else None
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

    base: how many of the names, from the first on, the annotations may have. strategy: how the noise of pseudo-masks is
    met, one of STRATEGIES (XPM, Table 3); noise_sees: "region" (XPM) or "region_and_mask"; noise_loss, samples: of Eq. 6;
    eta: of Eq. 7; pseudo_weight: of the two losses of pseudo-masks; balanced: weights are divided by their mean, so that a
    strategy says which labels count more, not how much all of them count. The others are the detector's.
    """

    def __init__(
        self,
        *,
        base: int,
        strategy: str = "robust",
        noise_sees: str = "region",
        noise_loss: str = "likelihood",
        samples: int = 8,
        eta: float = 0.01,
        pseudo_weight: float = 1.0,
        balanced: bool = False,
        **detector,
    ):
        super().__init__(**detector)
        if strategy not in STRATEGIES:
            raise ValueError(f"no strategy {strategy!r}: {', '.join(STRATEGIES)}")
        self.base, self.strategy, self.noise_loss, self.samples = base, strategy, noise_loss, samples
        self.eta, self.pseudo_weight, self.balanced = eta, pseudo_weight, balanced
        self.noise_head = NoiseHead(
            self.roi_heads.mask_predictor.conv5_mask.in_channels, noise_sees == "region_and_mask"
        )
        self.register_buffer("least_noise", torch.tensor(float("inf")))  # of all average noises seen: Eq. 7's eta
        self.register_buffer("clamped", torch.zeros((), dtype=torch.long))  # values of the noise kept within its bounds

    def losses(self, images: list[Tensor], targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """The detector's losses over annotated pictures, "loss_cross_modal" and "loss_pseudo_mask" over pseudo-masks, and
        their "noise".

        targets: dicts of boxes [n, 4], labels [n] from 1 on, masks [n, h, w], pseudo [n] bool (which are pseudo-masks),
        trust [n] float (a factor on their weights) and annotated [] bool (whether the others are all of the picture's base
        objects); text: [names, dimension].
        """
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        found = {}
        drawn = [i for i, target in enumerate(targets) if target["annotated"] and (~target["pseudo"]).any()]
        if drawn:
            real = [_part(targets[i], ~targets[i]["pseudo"]) for i in drawn]
            # the transform pads all pictures to one size, so those that are annotated can be picked from the maps
            maps = {name: value[drawn] for name, value in features.items()}
            part = type(batch)(batch.tensors[drawn], [batch.image_sizes[i] for i in drawn])
            found = self.detection_losses(part, maps, real, text[: self.base])
        made = [_part(target, target["pseudo"]) for target in targets]
        return found | self.pseudo_losses(features, batch.image_sizes, made, text)

    def pseudo_losses(self, features: dict, sizes: list, targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """L_X with alpha, and L_M, of pseudo-masks: Eqs. 3, 6 and 7; and the mean of their average noise. targets: dicts of
        boxes, labels, masks and trust of each picture; a picture may have none."""
        seen = self.look(features, sizes, targets, text)
        loss_mask = self.mask_loss(seen)
        weight = self.weights(seen)
        if self.balanced and len(weight):
            weight = weight / weight.mean().clamp(min=1e-6)
        loss_words = xpm.cross_modal_loss(seen["logits"], seen["words"], seen["trust"] * weight)
        noise = xpm.average_noise(seen["variance"].detach())
        if self.training and len(noise):
            self.least_noise.clamp_(max=noise.min())
        return {
            "loss_cross_modal": self.pseudo_weight * loss_words,
            "loss_pseudo_mask": self.pseudo_weight * loss_mask,
            "noise": noise.mean() if len(noise) else noise.sum(),
        }

    def look(self, features: dict, sizes: list, targets: list[dict], text: Tensor) -> dict[str, Tensor]:
        """What the student makes of pseudo-labelled regions: logits [objects, names], words [objects], mask_logits,
        masks, variance (each [objects, side, side]), trust [objects], pooled region features."""
        boxes = [target["boxes"] for target in targets]
        words = torch.cat([target["labels"] for target in targets]) - 1
        embedding, _, pooled = self.embed_from(features, boxes, sizes)
        hidden = self.mask_features(features, boxes, sizes, text[words])
        mask_logits = self.roi_heads.mask_predictor(hidden).squeeze(1).float()
        side = mask_logits.shape[-1]
        masks = [
            project_masks_on_boxes(target["masks"], own, torch.arange(len(own), device=own.device), side)
            for target, own in zip(targets, boxes)
        ]
        masks = (torch.cat(masks) >= 0.5).float()
        variance, outside = xpm.noise_variance(self.noise_head(hidden, masks))
        self.clamped += outside
        return {
            "logits": self.name_logits(embedding, text),
            "words": words,
            "mask_logits": mask_logits,
            "masks": masks,
            "variance": variance,
            "trust": torch.cat([target["trust"] for target in targets]),
            "pooled": pooled,
            "text": text,
        }

    def mask_loss(self, seen: dict[str, Tensor]) -> Tensor:
        """L_M: Eq. 6 where the strategy estimates noise, else Eq. 5; terms weighted by the labels' trust."""
        if self.strategy in ("robust", "stochastic_bce"):
            return xpm.noisy_mask_loss(
                seen["mask_logits"], seen["variance"], seen["masks"], self.samples, self.noise_loss, seen["trust"]
            )
        return xpm.mask_loss(seen["mask_logits"], seen["masks"], seen["trust"])

    @torch.no_grad()
    def weights(self, seen: dict[str, Tensor]) -> Tensor:
        """The weight of each object in L_X, [objects]; no gradient flows through it."""
        if not len(seen["words"]):
            return seen["trust"]
        if self.strategy == "robust":
            return xpm.reliability(seen["variance"], self.eta)
        if self.strategy == "class_score":
            return xpm.class_score(seen["logits"], seen["words"])
        if self.strategy == "pixel_score":
            return xpm.pixel_score(seen["mask_logits"])
        if self.strategy == "dropout_entropy":
            embed = self.roi_heads.box_predictor.embedding
            dropped = [nn.functional.dropout(seen["pooled"], _DROPOUT) for _ in range(_PASSES)]
            passes = [self.name_logits(embed(features), seen["text"]) for features in dropped]
            return xpm.dropout_certainty(torch.stack(passes))
        return torch.ones_like(seen["trust"])


def _part(target: dict, chosen: Tensor) -> dict:
    """The objects of a picture that are chosen."""
    return {key: target[key][chosen] for key in ("boxes", "labels", "masks", "trust")}
