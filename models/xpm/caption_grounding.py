"""Learning regions from captions (OVR, Zareian et al., 2021, 3.1; XPM's caption pretraining): a caption's words find
their regions by attention, regions their words, and a picture should fit its own caption better than those of others.

    s(w, r) = w . e_r / T
    <I, C>_words = mean over words w of sum over regions r of softmax_r(s(w, r)) s(w, r)
    <I, C>_regions = mean over regions r of sum over words w of softmax_w(s(w, r)) s(w, r)
    L = sum over both of - log softmax over captions <I, C> - log softmax over pictures <I, C>

All pictures and captions of a batch are each other's counter-examples, those of other processes, too.
"""

import re
from collections.abc import Sequence

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from models.detector.mask_rcnn import OpenVocabularyMaskRCNN

ALIGNMENTS = ("words", "regions")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def caption_words(text: str) -> list[str]:
    """All words of a caption, in lower case and in order, each as often as it stands there."""
    return _WORD.findall(text.lower())


def grid_boxes(height: int, width: int, parts: tuple[int, ...] = (2, 4)) -> Tensor:
    """Boxes of a part of each side, half of it apart: [regions, 4] xyxy, of all parts together."""
    boxes = []
    for part in parts:
        h, w = height / part, width / part
        for i in range(2 * part - 1):
            for j in range(2 * part - 1):
                boxes.append((j * w / 2, i * h / 2, j * w / 2 + w, i * h / 2 + h))
    return torch.tensor(boxes)


def fit(regions: Tensor, words: list[Tensor], align: str = "words") -> Tensor:
    """<I, C>_align of every picture and caption: [pictures, captions].

    regions: s of every name, [pictures, regions, names]; words: of each caption its names' indices, at least one;
    align: one of ALIGNMENTS, what finds its counterpart among the others.
    """
    if align == "words":
        attended = (regions.softmax(1) * regions).sum(1)
        return torch.stack([attended[:, index].mean(1) for index in words], 1)
    named = [regions[:, :, index] for index in words]
    return torch.stack([(s.softmax(2) * s).sum(2).mean(1) for s in named], 1)


def grounding_loss(regions: Tensor, words: list[Tensor], align: Sequence[str] = ALIGNMENTS) -> Tensor:
    """L above, averaged over the pictures, of those of ALIGNMENTS that `align` names. Captions that name the same are
    all right for each other's picture."""
    named = [tuple(sorted(set(index.tolist()))) for index in words]
    same = torch.tensor([[a == b for b in named] for a in named], device=regions.device).float()
    target = same / same.sum(1, keepdim=True)
    scores = [fit(regions, words, which) for which in align]
    return sum(F.cross_entropy(score, target) + F.cross_entropy(score.t(), target) for score in scores)


def gathered(values: Tensor) -> Tensor:
    """[n, …] of each process, in their order: [processes x n, …], through which gradients flow back to where they came
    from; all have the same shape. As it is in a process alone."""
    return torch.cat(all_gather(values)) if torch.distributed.is_initialized() else values


def gathered_words(words: list[Tensor]) -> list[Tensor]:
    """The captions of all processes, in their order; each process has as many."""
    if not torch.distributed.is_initialized():
        return words
    longest = torch.tensor(max(len(index) for index in words), device=words[0].device)
    torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
    padded = torch.stack([F.pad(index, (0, int(longest) - len(index)), value=-1) for index in words])
    return [index[index >= 0] for index in gathered(padded)]


class CaptionGroundedMaskRCNN(OpenVocabularyMaskRCNN):
    """The detector learning from captions alone: backbone, pyramid, box head and embedding head (OVR; XPM, 4.1).

    A call in training mode gives "loss_grounding", of the whole batch in each of several processes: the mean of their
    gradients is that of one process with all of it. Its targets are dicts of words [n], indices of the names that a
    picture's caption holds, at least one. align: as for grounding_loss; the others are the detector's.
    """

    def __init__(self, *, align: Sequence[str] = ALIGNMENTS, **detector):
        super().__init__(**detector)
        if not align or not set(align) <= set(ALIGNMENTS):
            raise ValueError(f"nothing to align by in {align!r}: one of {', '.join(ALIGNMENTS)}, or both")
        self.align = tuple(align)

    def losses(self, images: list[Tensor], targets: list[dict]) -> dict[str, Tensor]:
        """The grounding loss of pictures and their captions, a call in training mode."""
        batch, _ = self.transform(images)
        boxes = [grid_boxes(*size).to(batch.tensors.device) for size in batch.image_sizes]
        embedding, _ = self.embed(self.backbone(batch.tensors), boxes, batch.image_sizes)
        embedding = gathered(embedding.float().view(len(images), -1, embedding.shape[1]))
        words = gathered_words([target["words"] for target in targets])
        names, places = torch.cat(words).unique(return_inverse=True)  # a vocabulary is large, a batch's words are few
        regions = self.name_logits(embedding.flatten(0, 1), self.text[names]).view(*embedding.shape[:2], -1)
        return {"loss_grounding": grounding_loss(regions, places.split([len(index) for index in words]), self.align)}
