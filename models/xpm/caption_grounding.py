"""Learning regions from captions (OVR, Zareian et al., 2021, 3.1; XPM's caption pretraining): a caption's words find
their regions by attention, and a picture should fit its own caption better than those of others.

    <I, C> = mean over words w of sum over regions r of softmax_r(w . e_r) (w . e_r)
    L = - log softmax over captions <I, C> - log softmax over pictures <I, C>
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN


def grid_boxes(height: int, width: int, parts: tuple[int, ...] = (2, 4)) -> Tensor:
    """Boxes of a part of each side, half of it apart: [regions, 4] xyxy, of all parts together."""
    boxes = []
    for part in parts:
        h, w = height / part, width / part
        for i in range(2 * part - 1):
            for j in range(2 * part - 1):
                boxes.append((j * w / 2, i * h / 2, j * w / 2 + w, i * h / 2 + h))
    return torch.tensor(boxes)


def fit(regions: Tensor, words: list[Tensor]) -> Tensor:
    """<I, C> of every picture and caption: [pictures, captions].

    regions: similarities with every name, [pictures, regions, names]; words: of each caption its names' indices, at
    least one.
    """
    attended = (regions.softmax(1) * regions).sum(1)
    return torch.stack([attended[:, index].mean(1) for index in words], 1)


def grounding_loss(regions: Tensor, words: list[Tensor]) -> Tensor:
    """L above, averaged over the pictures. Captions that name the same are all right for each other's picture."""
    scores = fit(regions, words)
    named = [tuple(sorted(set(index.tolist()))) for index in words]
    same = torch.tensor([[a == b for b in named] for a in named], device=scores.device).float()
    target = same / same.sum(1, keepdim=True)
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)


class CaptionGroundedMaskRCNN(OpenVocabularyMaskRCNN):
    """The detector learning from captions alone: backbone, pyramid, box head and embedding head (OVR; XPM, 4.1).

    A call in training mode gives "loss_grounding"; its targets are dicts of words [n], indices of the names that a
    picture's caption holds, at least one.
    """

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """The grounding loss of pictures and their captions, a call in training mode."""
        batch, _ = self.transform(images)
        boxes = [grid_boxes(*size).to(batch.tensors.device) for size in batch.image_sizes]
        embedding, _ = self.embed(self.backbone(batch.tensors), boxes, batch.image_sizes)
        regions = self.name_logits(embedding, self.text).view(len(images), -1, len(self.text))
        return {"loss_grounding": grounding_loss(regions, [target["words"] for target in targets])}
