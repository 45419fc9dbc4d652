"""The equations of XPM (Huynh et al., 2022, section 3.2): alignment, cross-modal loss, mask noise, reliability; and the
weights that its Table 3 compares with.

M is a pseudo-mask, g the student's mask logits, v the variance of the noise on them, all on the mask head's grid.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the variance, so that neither a reliability nor a sample is without bounds. The least average noise that XPM found is
# 0.01 (4.1), so the floor is well below.
NOISE_FLOOR, NOISE_CEILING = 1e-3, 50.0


def align(logits: Tensor) -> Tensor:
    """Eq. 2: the region of each word, [words]. logits: v . h(f_r), [regions, words]; at least one region."""
    return logits.argmax(0)


def binary_mask(logits: Tensor) -> Tensor:
    """Eq. 4: M, bool, where the mask logit is at least 0."""
    return logits >= 0


def cross_modal_loss(logits: Tensor, words: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. 3, and with `weight` its terms weighted (3.2.4), averaged over the objects.

    logits: v . g(f_b), [objects, vocabulary]; words: [objects], index of each object's word; weight: [objects], alpha,
    a constant here. 0 where there is no object.
    """
    if not len(logits):
        return logits.sum()
    terms = F.cross_entropy(logits, words, reduction="none")
    return (terms if weight is None else weight.detach() * terms).mean()


def mask_loss(logits: Tensor, masks: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. 5, averaged over pixels and objects. logits, masks (0 or 1): [objects, side, side]; weight: [objects], of
    their terms."""
    if not len(logits):
        return logits.sum()
    return _averaged(F.binary_cross_entropy_with_logits(logits, masks, reduction="none"), weight)


def _averaged(terms: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of [objects, side, side], objects weighted."""
    return (terms if weight is None else terms * weight[:, None, None]).mean()


def noise_variance(raw: Tensor) -> Tensor:
    """g_Noise: the noise head's output as a variance, positive by construction, between NOISE_FLOOR and
    NOISE_CEILING."""
    return F.softplus(raw.float()).clamp(NOISE_FLOOR, NOISE_CEILING)


def share_at_bound(variance: Tensor) -> Tensor:
    """The share of the variances that are at NOISE_FLOOR or NOISE_CEILING, a scalar; 0 of none."""
    at_bound = (variance <= NOISE_FLOOR) | (variance >= NOISE_CEILING)
    return at_bound.float().sum() / max(1, variance.numel())


def noisy_mask_loss(
    logits: Tensor,
    variance: Tensor,
    masks: Tensor,
    samples: int,
    kind: str = "likelihood",
    weight: Tensor | None = None,
) -> Tensor:
    """Eq. 6, averaged over pixels and objects, by the reparametrisation g + sqrt(v) z with z from N(0, 1).

    logits, variance, masks: [objects, side, side]; weight: as for mask_loss. kind: "expected", the mean of the
    cross-entropy over the samples, as Eq. 6 is printed; "likelihood", the cross-entropy of the mean likelihood over the
    samples (Kendall & Gal, 2017, Eq. 12, which Eq. 6 goes back to). The cross-entropy is convex in its logit, so under
    "expected" noise never pays (Jensen) and the variance only falls; under "likelihood" a pixel that contradicts its
    pseudo-mask pays less with more noise. Draws from torch's global generator. 0 where there is no object.
    """
    if not len(logits):
        return logits.sum() + variance.sum()
    noise = torch.randn(samples, *logits.shape, device=logits.device)
    noisy = logits.float() + variance.sqrt() * noise
    entropy = F.binary_cross_entropy_with_logits(noisy, masks.expand_as(noisy), reduction="none")
    if kind == "expected":
        return _averaged(entropy.mean(0), weight)
    return _averaged(math.log(samples) - torch.logsumexp(-entropy, 0), weight)


def average_noise(variance: Tensor) -> Tensor:
    """The noise level of each pseudo-mask: the mean of its variances, [objects]."""
    return variance.flatten(1).mean(1)


def reliability(variance: Tensor, eta: float) -> Tensor:
    """Eq. 7: alpha = eta over the average noise, [objects]; at most 1, which it is by eta's definition as the least
    noise of all, and stays where training finds less."""
    return (eta / average_noise(variance)).clamp(max=1.0)


def class_score(logits: Tensor, words: Tensor) -> Tensor:
    """The probability of each object's word (Table 3, class score), [objects]."""
    return logits.softmax(1).gather(1, words[:, None]).squeeze(1)


def pixel_score(logits: Tensor) -> Tensor:
    """The mean probability over the pixels taken as object (Table 3; Yang et al., 2021), [objects]; 0 where none is."""
    probability = logits.float().sigmoid()
    inside = binary_mask(logits).float()
    return (probability * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)


def dropout_certainty(passes: Tensor) -> Tensor:
    """1 less the entropy of the mean class probabilities of several passes with dropout, over its largest value (Table
    3; Gal & Ghahramani, 2016), [objects] in 0..1. passes: logits [passes, objects, vocabulary]."""
    mean = passes.softmax(-1).mean(0)
    entropy = -(mean * mean.clamp(min=1e-12).log()).sum(1)
    return 1 - entropy / math.log(max(2, mean.shape[1]))
