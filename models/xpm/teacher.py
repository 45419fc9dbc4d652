"""What XPM's teacher says about the words of a caption: where each of them is, and its mask (Huynh et al., 2022, 3.2.2)."""

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.xpm.equations import align


@torch.inference_mode()
def label_words(
    model: OpenVocabularyMaskRCNN, images: list[Tensor], words: list[Tensor], text: Tensor
) -> list[dict[str, Tensor] | None]:
    """The aligned region of every word of every picture (Eq. 2) and its mask (Eq. 4).

    images: [3, h, w] float32 in 0..1; words: of each picture indices into text [names, dimension]. Returns for each
    picture boxes [words, 4] xyxy pixels, similarity [words] (v . h(f)), score [words] (probability among all names and
    the background), rank [words] (of the region among the proposals) and masks [words, h, w] bool; None where no region
    was proposed.
    """
    if not images:
        return []
    batch, _ = model.transform(images)
    features = model.backbone(batch.tensors)
    boxes, embedding = model.regions(batch, features)
    counts = [len(own) for own in boxes]
    chosen, found = [], []
    for own, h, asked in zip(boxes, embedding.split(counts), words):
        if not len(own):
            chosen.append(own)
            found.append(None)
            continue
        logits = model.name_logits(h, text)[:, asked]
        region = align(logits)
        word = torch.arange(len(asked), device=region.device)
        probability = model.class_logits(h[region], text).softmax(1)[word, asked + 1]
        chosen.append(own[region])
        found.append({"rank": region, "similarity": logits[region, word], "score": probability})
    named = torch.cat([asked for asked, own in zip(words, boxes) if len(own)]) if any(counts) else None
    if named is None:
        return found
    logits = model.mask_logits(features, chosen, batch.image_sizes, text[named]).split([len(own) for own in chosen])
    for image, size, own, mask, result in zip(images, batch.image_sizes, chosen, logits, found):
        if result is None:
            continue
        height, width = image.shape[-2:]
        result["boxes"] = own * own.new_tensor([width / size[1], height / size[0]] * 2)
        pasted = paste_masks_in_image(mask.sigmoid(), result["boxes"], (height, width)).squeeze(1)
        result["masks"] = pasted >= 0.5  # a logit of 0
    return found
