"""Labels of the round after (ours): of the masks that a detector finds of each noun of a picture, those that the noun's
activation speaks for as well, each mask for one noun.

    evidence = p^(1 - a) J^a,   J = S / (k |m| + T - S),   S = sum of Phi inside the mask m,  T = sum of Phi over the picture

p is the detector's probability of the noun among those of the picture's captions, J the soft overlap of
models.grounding.box_choice.soft_overlap. A detector that is asked about its own labels repeats their mistakes; what the
image-text model activates was made without it, and contradicts it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from structures.masks import iou


class Label(NamedTuple):
    """What was chosen: indices of the noun and of its candidate, the place among the noun's labels (0 the first), and the
    evidence."""

    noun: int
    candidate: int
    instance: int
    evidence: float


def evidence(scores: np.ndarray, overlaps: np.ndarray, *, activation_weight: float) -> np.ndarray:
    """The detector's probabilities [n] and the soft overlaps [n] together, [n]. activation_weight: a above, 0 to 1."""
    return scores ** (1 - activation_weight) * overlaps**activation_weight


def choose_labels(
    evidences: Sequence[np.ndarray],
    masks: Sequence[Sequence[dict]],
    instances: Sequence[int],
    *,
    min_share: float,
    max_overlap: float,
) -> tuple[list[Label], dict[int, int]]:
    """The labels of a picture, and {noun that got none: noun whose label it would have shared}.

    evidences: of each noun [n] of its candidates; masks: their RLE; instances: how many labels a noun gets at most;
    min_share: of a noun's first label's evidence that its further ones must have; max_overlap: IoU above which a mask is
    taken already. The strongest of all is taken first, whosever it is: of two nouns that want one mask the stronger gets
    it, the other its next best.
    """
    order = sorted(
        ((-float(value), noun, i) for noun, values in enumerate(evidences) for i, value in enumerate(values)),
    )
    chosen: list[Label] = []
    of_noun: dict[int, list[Label]] = {}
    refused: dict[int, int] = {}
    for negative, noun, i in order:
        mine = of_noun.setdefault(noun, [])
        if len(mine) == instances[noun] or (mine and -negative < min_share * mine[0].evidence):
            continue
        rival = next((x.noun for x in chosen if iou(masks[x.noun][x.candidate], masks[noun][i]) > max_overlap), None)
        if rival is not None:
            refused.setdefault(noun, rival)
            continue
        label = Label(noun, i, len(mine), -negative)
        mine.append(label)
        chosen.append(label)
    return sorted(chosen), {noun: rival for noun, rival in refused.items() if not of_noun[noun]}
