"""Cutting an object out of its box by colour and activation, many crops at once; no network is trained.

Two mixtures of colours, of the object and of what is around it, are fitted in turn with the labels of the pixels, as in
GrabCut (Rother et al., 2004). A pixel a with neighbours b takes the label that minimises

    E = sum over a of [U(a) - L(a)] y(a) + sum over (a, b) of w(a, b) |y(a) - y(b)|,   y in 0, 1
    L(a) = log p(colour | object) - log p(colour | ground)
    w(a, b) = s |a - b|^-1/2 exp(-|colour(a) - colour(b)|^2 / 2 beta),   beta the crop's mean

by mean field (Kraehenbuehl and Koltun, 2011), whose steps are the same for every crop. What differs from GrabCut: the
prior U comes from the activation (the foreground points of Mask-free OVIS, Eq. 7): the most activated part of the box
is object, the rest the likelier the more activated; what is outside the box is ground.
"""

import numpy as np
import torch
from torch import Tensor

from models.grounding.crops import Crop, lab_colours
from models.masks.interface import full_batch

_CERTAIN = 10.0  # a logit
_NOISE = 2e-4  # variance added to every mixture component
_FRAME = 0.25  # logit by which the middle of a box is likelier object than its border
_REACH = (1, 2, 4)  # pixels between neighbours
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def outline(
    crops: list[Crop],
    rngs: list[np.random.Generator],
    *,
    batch: int,
    device: str,
    seed_fraction: float,
    activation_logit: float,
    smoothness: float,
    position: float,
    components: int,
    rounds: int,
    sweeps: int,
) -> np.ndarray:
    """See models.masks.interface; nothing is random. The options: see cut_out."""
    columns = zip(*((lab_colours(crop.pixels), crop.activation, crop.inside) for crop in crops))
    probabilities = cut_out(
        *full_batch(*columns, batch=batch, device=device),
        seed_fraction=seed_fraction,
        activation_logit=activation_logit,
        smoothness=smoothness,
        position=position,
        components=components,
        rounds=rounds,
        sweeps=sweeps,
    )
    return probabilities[: len(crops)].cpu().numpy()


def cut_out(
    colours: Tensor,
    activation: Tensor,
    inside: Tensor,
    *,
    seed_fraction: float,
    activation_logit: float,
    smoothness: float,
    position: float,
    components: int,
    rounds: int,
    sweeps: int,
) -> Tensor:
    """Object probabilities [crops, side, side], zero outside the box.

    colours: [crops, 3, side, side] float32, CIE Lab over 100; activation: [crops, side, side], at least 0; inside:
    [crops, side, side] bool, the box within the crop; seed_fraction: of the box, the most activated, that is object;
    activation_logit: between the box's most and least activated pixel; smoothness: s of w; position: weight of a
    pixel's place (the crop is as wide as 1) beside its colour; components: of each mixture; rounds: how often mixtures
    and labels are fitted; sweeps: mean-field steps a round.
    """
    prior, foreground = _prior(activation, inside, seed_fraction, activation_logit)
    pixels = colours.flatten(2).transpose(1, 2)
    places = position * _places(colours.shape[-1], colours.device).expand(len(pixels), -1, -1)
    values = torch.cat([pixels - pixels.mean(1, keepdim=True), places], -1)
    terms, d = _quadratic_terms(values), values.shape[-1]
    links = _links(colours, smoothness)
    box = inside.flatten(1)
    for _ in range(rounds):
        likelihood = _log_likelihood(terms, d, foreground * box + 1e-4, components)
        likelihood -= _log_likelihood(terms, d, 1 - foreground + 1e-4, components)
        unary = prior + likelihood.clamp(-_CERTAIN, _CERTAIN)
        foreground = _mean_field(unary.view_as(activation), inside, links, sweeps).flatten(1)
    return foreground.view_as(activation)


def _prior(activation: Tensor, inside: Tensor, seed_fraction: float, activation_logit: float) -> tuple[Tensor, Tensor]:
    """Logits [crops, pixels] of being object, and the probabilities that the first mixtures are fitted with."""
    depth = _depth(inside)
    box = inside.flatten(1)
    values = (activation * depth.sqrt()).flatten(1).masked_fill(~box, -1)
    order = values.argsort(dim=1, stable=True)
    place = torch.arange(values.shape[1], device=values.device, dtype=values.dtype).expand_as(values)
    rank = torch.empty_like(values).scatter_(1, order, place)
    count = box.sum(1, keepdim=True)
    rank = ((rank - (values.shape[1] - count)) / count.clamp(min=1)).clamp(0, 1)
    prior = activation_logit * (rank - 0.5) + _FRAME * (2 * depth.flatten(1) - 1)
    prior = prior + _CERTAIN * (rank > 1 - seed_fraction)
    return prior.masked_fill(~box, -2 * _CERTAIN), (prior + 2).sigmoid() * box


def _depth(inside: Tensor) -> Tensor:
    """[crops, side, side]: 0 at the border of each box and outside, 1 at its middle."""

    def along(line: Tensor) -> Tensor:
        place = torch.arange(line.shape[1], device=line.device, dtype=torch.float32)
        first = line.float().argmax(1, keepdim=True)
        last = first + line.sum(1, keepdim=True) - 1
        return (1 - ((2 * (place - first) / (last - first).clamp(min=1)) - 1).abs()).clamp(0, 1) * line

    return torch.minimum(along(inside.any(2))[:, :, None], along(inside.any(1))[:, None, :])


def _places(side: int, device) -> Tensor:
    """[side * side, 2]: row and column of each pixel, -1/2 to 1/2."""
    line = torch.linspace(-0.5, 0.5, side, device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).flatten(0, 1)


def _quadratic_terms(x: Tensor) -> Tensor:
    """[crops, pixels, d] to [crops, pixels, 1 + d + d (d + 1) / 2]: 1, the values, their products."""
    i, j = torch.triu_indices(x.shape[-1], x.shape[-1])
    return torch.cat([torch.ones_like(x[..., :1]), x, x[..., i] * x[..., j]], -1)


def _log_likelihood(terms: Tensor, d: int, weights: Tensor, components: int) -> Tensor:
    """Log density [crops, pixels] of a mixture of Gaussians fitted to weighted pixels by three steps of EM.

    It starts from as many equal parts along the principal axis. terms: see _quadratic_terms, of d values; weights:
    [crops, pixels]. Both steps of EM are products of matrices with the terms.
    """
    total, mean, covariance = _moments(terms, d, weights[..., None])
    axis = torch.linalg.eigh(covariance[:, 0])[1][..., -1:]
    along = (terms[..., 1 : 1 + d] - mean) @ axis
    spread = (along.square() * weights[..., None]).sum(1, keepdim=True) / total[..., None]
    part = 0.5 * (1 + torch.erf(along / (2 * spread).sqrt()))
    part = (part * components).long().clamp(0, components - 1)
    share = torch.zeros(*part.shape[:2], components, device=terms.device).scatter_(2, part, 1.0)
    for _ in range(3):
        density = terms @ _log_density(*_moments(terms, d, share * weights[..., None])).transpose(1, 2)
        share = density.softmax(-1)
    return density.logsumexp(-1)


def _moments(terms: Tensor, d: int, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [crops, k], mean [crops, k, d] and covariance [crops, k, d, d] of weighted pixels [crops, pixels, k]."""
    sums = weights.transpose(1, 2) @ terms
    total = sums[..., 0] + 1e-4
    sums = sums / total[..., None]
    mean = sums[..., 1 : 1 + d]
    i, j = torch.triu_indices(d, d)
    second = torch.empty(*mean.shape, d, device=terms.device)
    second[..., i, j] = second[..., j, i] = sums[..., 1 + d :]
    return total, mean, second - mean[..., :, None] * mean[..., None, :] + _NOISE * torch.eye(d, device=terms.device)


def _log_density(total: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The logarithms of weighted Gaussians as coefficients of _quadratic_terms, [crops, k, terms]."""
    factor = torch.linalg.cholesky(covariance)
    precision = torch.cholesky_inverse(factor)
    linear = (precision @ mean[..., None]).squeeze(-1)
    constant = (total / total.sum(1, keepdim=True)).log() - 0.5 * (linear * mean).sum(-1)
    constant = constant - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    i, j = torch.triu_indices(mean.shape[-1], mean.shape[-1])
    products = -precision[..., i, j] * torch.where(i == j, 0.5, 1.0).to(mean.device)
    return torch.cat([constant[..., None], linear, products], -1)


def _links(colours: Tensor, smoothness: float) -> list[tuple[tuple, tuple, Tensor]]:
    """For every kind of neighbours the places of the one, of the other, and w."""
    side = colours.shape[-1]
    pairs, distances = [], []
    for reach in _REACH:
        for dy, dx in _STEPS:
            dy, dx = dy * reach, dx * reach
            here = (slice(None), slice(0, side - dy), slice(max(0, -dx), side - max(0, dx)))
            there = (slice(None), slice(dy, side), slice(max(0, dx), side - max(0, -dx)))
            pairs.append((here, there, (dy * dy + dx * dx) ** -0.25))
            distances.append((colours[:, :, *here[1:]] - colours[:, :, *there[1:]]).square().sum(1))
    beta = torch.stack([distance.mean((1, 2)) for distance in distances]).mean(0)[:, None, None] + 1e-6
    return [
        (here, there, smoothness * near * torch.exp(-distance / (2 * beta)))
        for (here, there, near), distance in zip(pairs, distances)
    ]


def _mean_field(unary: Tensor, inside: Tensor, links: list, sweeps: int) -> Tensor:
    """Object probabilities [crops, side, side], from those of the pixels alone, neighbours counting more each sweep."""
    foreground = unary.sigmoid() * inside
    for sweep in range(sweeps):
        label = 2 * foreground - 1
        pull = torch.zeros_like(label)
        for here, there, weight in links:
            pull[here] += weight * label[there]
            pull[there] += weight * label[here]
        foreground = (unary + (sweep + 1) / sweeps * pull).sigmoid() * inside
    return foreground
