"""Boxes of the round after (ours): of the regions that were proposed and those that a detector finds, for each noun of a
picture the one that the detector calls so and that the noun's activation speaks for, each region for one noun.

    evidence = p^(1 - a) J^a,   J = S / (k |b| + T - S),   S = sum of Phi inside the box b,  T = sum of Phi over the picture

p is the detector's probability of the noun for the region, J the soft overlap of models.grounding.box_choice.soft_overlap. A
detector that is asked about its own labels repeats their mistakes; what the image-text model activates was made without it,
and contradicts it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou


class Label(NamedTuple):
    """What was chosen: indices of the noun and of its box, the place among the noun's labels (0 the first), and the
    evidence."""

    noun: int
    box: int
    instance: int
    evidence: float


def evidence(probabilities: np.ndarray, overlaps: np.ndarray, *, activation_weight: float) -> np.ndarray:
    """The detector's probabilities [n] and the soft overlaps [n] together, [n]. activation_weight: a above, 0 to 1."""
    return probabilities ** (1 - activation_weight) * overlaps**activation_weight


def choose_labels(
    evidences: np.ndarray,
    boxes: np.ndarray,
    instances: Sequence[int],
    *,
    min_share: float,
    max_overlap: float,
    max_overlap_of_noun: float,
) -> tuple[list[Label], dict[int, int]]:
    """The labels of a picture, and {noun that got none: noun whose label it would have shared}.

    evidences: [nouns, n] of the boxes [n, 4] xyxy; instances: how many labels a noun gets at most; min_share: of a noun's
    first label's evidence that its further ones must have; max_overlap: IoU above which a box is another noun's already,
    max_overlap_of_noun: or the noun's own. The strongest of all is taken first, whosever it is: of two nouns that want one
    box the stronger gets it, the other its next best.
    """
    left = np.where(evidences > 0, evidences, 0.0)
    overlaps = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    chosen: list[Label] = []
    of_noun: dict[int, list[Label]] = {noun: [] for noun in range(len(evidences))}
    refused: dict[int, int] = {}
    while left.size and left.max() > 0:
        noun, i = (int(v) for v in np.unravel_index(left.argmax(), left.shape))
        mine = of_noun[noun]
        label = Label(noun, i, len(mine), float(left[noun, i]))
        if mine and label.evidence < min_share * mine[0].evidence:
            left[noun] = 0
            continue
        mine.append(label)
        chosen.append(label)
        for other in range(len(evidences)):
            taken = overlaps[i] > (max_overlap_of_noun if other == noun else max_overlap)
            if other != noun and not of_noun[other] and taken[left[other].argmax()] and left[other].max() > 0:
                refused.setdefault(other, noun)
            left[other][taken] = 0
        left[noun, i] = 0
        if len(mine) == instances[noun]:
            left[noun] = 0
    return sorted(chosen), {noun: rival for noun, rival in refused.items() if not of_noun[noun]}
