"""Weakly-supervised segmentation of one crop by a three-layer network trained on that crop alone (OVIS, Eq. 7).

    L = sum over Z foreground points of CE(s(f), 1) + sum over Z background points of CE(s(b), 0)

Each sum is taken as its mean, "a first cross-entropy loss" plus "a second cross-entropy loss" in the text before Eq. 7: the
patent gives a learning rate and no Z, so the rate must not depend on Z. Many crops train at once: a crop is a group of
the convolutions, so each trains as it would alone.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.grounding.crops import Crop
from models.masks.interface import full_batch

MOMENTUM = 0.9


def outline(
    crops: list[Crop],
    rngs: list[np.random.Generator],
    *,
    batch: int,
    device: str,
    channels: int,
    steps: int,
    lr: float,
    foreground: float,
    background: str,
    background_share: float,
    points: int,
) -> np.ndarray:
    """See models.masks.interface. points: Z of Eq. 7, drawn from either part; the other options: see segment_crops."""
    normal = [rng.standard_normal(weight_count(channels), dtype=np.float32) for rng in rngs]
    uniform = [rng.random((2, points), dtype=np.float32) for rng in rngs]
    pixels, activation = [crop.pixels for crop in crops], [crop.activation for crop in crops]
    probabilities = segment_crops(
        *full_batch(pixels, activation, normal, uniform, batch=batch, device=device),
        channels=channels,
        steps=steps,
        lr=lr,
        foreground=foreground,
        background=background,
        background_share=background_share,
    )
    return probabilities[: len(crops)].cpu().numpy()


def initial_weights(normal: Tensor, channels: int) -> list[Tensor]:
    """Split [crops, weight_count(channels)] standard normal numbers into the layers' weights, scaled as He et al. do.

    Returns [crops * channels, 3, 3, 3], [crops * channels, channels, 3, 3] and [crops, channels, 1, 1].
    """
    shapes = _shapes(channels)
    layers = normal.split([out * fan * side * side for out, fan, side in shapes], dim=1)
    return [
        layer.reshape(-1, fan, side, side) * (2 / (fan * side * side)) ** 0.5
        for layer, (_, fan, side) in zip(layers, shapes)
    ]


def weight_count(channels: int) -> int:
    """Numbers that a crop's network starts from."""
    return sum(out * fan * side * side for out, fan, side in _shapes(channels))


def _shapes(channels: int) -> list[tuple[int, int, int]]:
    """Channels out and in and the kernel's side of each layer."""
    return [(channels, 3, 3), (channels, channels, 3), (1, channels, 1)]


def _normalise(x: Tensor) -> Tensor:
    """Batch normalisation of a batch of one: over the pixels of a crop. x: [1, crops * channels, side, side]."""
    return F.batch_norm(x, None, None, training=True)


def forward(pixels: Tensor, weights: list[Tensor]) -> Tensor:
    """Logits [crops, side * side]. pixels: [1, crops * 3, side, side]; weights: see initial_weights."""
    first, second, third = weights
    crops = len(third)
    x = F.relu(_normalise(F.conv2d(pixels, first, padding=1, groups=crops)))
    x = F.relu(_normalise(F.conv2d(x, second, padding=1, groups=crops)))
    return F.conv2d(x, third, groups=crops).view(crops, -1)


def ranked_points(values: Tensor, share: float, points: int, uniform: Tensor) -> Tensor:
    """Z pixels drawn from the highest `share` of values: [crops, pixels] to indices [crops, points].

    Pixels of equal value are drawn from all together or not at all (a binary map has two values, one enlarged by nearest
    neighbour few): as many of the highest values as fit into the share, and at least the highest. uniform: [crops, points]
    numbers in 0..1 that the draw is made of, with replacement.
    """
    count = max(1, round(share * values.shape[1]))
    ranked, order = values.sort(dim=1, descending=True, stable=True)
    last = ranked[:, count - 1 : count]
    above, with_last = (values > last).sum(1, keepdim=True), (values >= last).sum(1, keepdim=True)
    drawn_from = torch.where((with_last > count) & (above > 0), above, with_last)
    return order.gather(1, torch.minimum((uniform * drawn_from).long(), drawn_from - 1))


def frame_values(side: int, device) -> Tensor:
    """[side * side]: higher the nearer a pixel is to the crop's border."""
    line = torch.arange(side, device=device)
    edge = torch.minimum(line, side - 1 - line)
    return -torch.minimum(edge[:, None], edge[None, :]).flatten().float()


def segment_crops(
    crops: Tensor,
    activation: Tensor,
    normal: Tensor,
    uniform: Tensor,
    *,
    channels: int,
    steps: int,
    lr: float,
    foreground: float,
    background: str,
    background_share: float,
) -> Tensor:
    """Train one network a crop and return its prediction.

    crops: [crops, 3, side, side] float, any colours; activation: [crops, side, side], Phi inside the box; normal:
    [crops, weight_count(channels)], uniform: [crops, 2, points]: the rows' own random numbers; foreground,
    background_share: shares of the crop that points are drawn from; background: "least" or "frame".

    Returns foreground probabilities [crops, side, side].
    """
    side = crops.shape[-1]
    values = activation.flatten(1)
    object_points = ranked_points(values, foreground, uniform.shape[2], uniform[:, 0])
    ground_values = -values if background == "least" else frame_values(side, crops.device).expand_as(values)
    ground_points = ranked_points(ground_values, background_share, uniform.shape[2], uniform[:, 1])
    points = torch.cat([object_points, ground_points], 1)
    target = torch.zeros(points.shape, device=crops.device)
    target[:, : object_points.shape[1]] = 1
    pixels = _normalise(crops.reshape(1, -1, side, side))
    weights = [w.requires_grad_() for w in initial_weights(normal, channels)]
    velocities = [torch.zeros_like(w) for w in weights]
    with torch.enable_grad():
        for _ in range(steps):
            logits = forward(pixels, weights).gather(1, points)
            losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            loss = losses.unflatten(1, (2, -1)).mean(2).sum()  # the mean over either kind's points, the sum over crops
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for w, v, g in zip(weights, velocities, gradients):
                    v.mul_(MOMENTUM).add_(g)
                    w.sub_(lr * v)
    with torch.no_grad():
        return forward(pixels, weights).sigmoid().view(len(crops), side, side)
