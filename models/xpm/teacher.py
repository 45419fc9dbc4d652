"""XPM's teacher, and what it says about the words of a caption: where each of them is, and its mask (Huynh et al., 2022,
3.2.1, 3.2.2)."""

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm.equations import align

SUPERVISIONS = ("masks", "boxes")


def without_masks(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of a detector that learns from boxes alone: the mask's are 0, and no gradient comes from them."""
    return {name: torch.zeros_like(loss) if "loss_mask" in name else loss for name, loss in losses.items()}


class Teacher(OpenVocabularyMaskRCNN):
    """The teacher in training. supervision: "masks", or "boxes" of the annotations alone (XPM, Table 1), from which its
    mask head learns nothing; the others are the detector's."""

    def __init__(self, *, supervision: str = "masks", **detector):
        super().__init__(**detector)
        if supervision not in SUPERVISIONS:
            raise ValueError(f"no supervision {supervision!r}: {', '.join(SUPERVISIONS)}")
        self.supervision = supervision

    def freeze(self, parts: list[str]) -> None:
        """As any detector's; but a learned background, which no caption taught, goes on learning."""
        super().freeze(parts)
        for name, weight in self.named_parameters():
            if name == "roi_heads.box_predictor.background":
                weight.requires_grad_(True)

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """A call in training mode."""
        losses = super().losses(images, targets)
        return without_masks(losses) if self.supervision == "boxes" else losses


@torch.inference_mode()
def label_words(
    model: OpenVocabularyMaskRCNN, images: list[Tensor], words: list[Tensor], text: Tensor
) -> list[dict[str, Tensor] | None]:
    """The aligned region of every word of every picture (Eq. 2) and its mask (Eq. 4).

    images: [3, h, w] float32 in 0..1; words: of each picture indices into text [categories, dimension]. Returns for
    each picture boxes [words, 4] xyxy pixels, similarity [words] (v . h(f)), score [words] (probability among all names
    and the background), rank [words] (of the region among the proposals) and masks [words, h, w] bool; None where no
    region was proposed.
    """
    if not images:
        return []
    batch, _ = model.transform(images)
    features = model.backbone(batch.tensors)
    boxes, embedding = model.regions(batch, features)
    aligned, labels = [], []
    for proposals, h, indices in zip(boxes, embedding.split([len(proposals) for proposals in boxes]), words):
        if not len(proposals):
            aligned.append(proposals)
            labels.append(None)
            continue
        logits = model.name_logits(h, text)[:, indices]
        region = align(logits)
        word = torch.arange(len(indices), device=region.device)
        probability = model.class_logits(h[region], text).softmax(1)[word, indices + 1]
        aligned.append(proposals[region])
        labels.append({"rank": region, "similarity": logits[region, word], "score": probability})
    if not any(labels):
        return labels
    text_of_regions = text[torch.cat([indices for indices, label in zip(words, labels) if label])]
    logits = model.mask_logits(features, aligned, batch.image_sizes, text_of_regions)
    logits = logits.split([len(regions) for regions in aligned])
    for image, size, regions, mask_logits, label in zip(images, batch.image_sizes, aligned, logits, labels):
        if label is None:
            continue
        height, width = image.shape[-2:]
        label["boxes"] = regions * regions.new_tensor([width / size[1], height / size[0]] * 2)
        pasted = paste_masks_in_image(mask_logits.sigmoid(), label["boxes"], (height, width)).squeeze(1)
        label["masks"] = pasted >= 0.5  # a logit of 0
    return labels
