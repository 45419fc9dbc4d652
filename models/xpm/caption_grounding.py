"""Learning regions from captions (OVR, Zareian et al., 2021, 3.1; XPM's caption pretraining): a caption's words find their
regions by attention, and a picture should fit its own caption better than those of others.

    <I, C> = mean over words w of sum over regions r of softmax_r(w . e_r) (w . e_r)
    L = - log softmax over captions <I, C> - log softmax over pictures <I, C>
"""

import torch
import torch.nn.functional as F
from torch import Tensor


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

    regions: similarities with every name, [pictures, regions, names]; words: of each caption its names' indices, at least
    one.
    """
    attended = (regions.softmax(1) * regions).sum(1)
    return torch.stack([attended[:, index].mean(1) for index in words], 1)


def grounding_loss(regions: Tensor, words: list[Tensor]) -> Tensor:
    """L above, averaged over the pictures. Captions that name the same are all right for each other's picture."""
    scores = fit(regions, words)
    said = [tuple(sorted(set(index.tolist()))) for index in words]
    same = torch.tensor([[a == b for b in said] for a in said], device=scores.device).float()
    target = same / same.sum(1, keepdim=True)
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)
