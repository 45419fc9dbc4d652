"""Weakly-supervised segmentation of one crop by a three-layer network trained on that crop alone (OVIS, Eq. 7).

    L = sum over Z foreground points of CE(s(f), 1) + sum over Z background points of CE(s(b), 0)

Many crops train at once: a crop is a group of the convolutions, so each trains as it would alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTUM = 0.9


def initial_weights(normal: Tensor, channels: int) -> list[Tensor]:
    """Split [crops, weight_count(channels)] standard normal numbers into the layers' weights, scaled as He et al. do.

    Returns [crops * channels, 3, 3, 3], [crops * channels, channels, 3, 3] and [crops, channels, 1, 1].
    """
    weights = []
    for out, inside, side in _shapes(channels):
        part, normal = normal.split([out * inside * side * side, normal.shape[1] - out * inside * side * side], dim=1)
        weights.append(part.reshape(-1, inside, side, side) * (2 / (inside * side * side)) ** 0.5)
    return weights


def weight_count(channels: int) -> int:
    """Numbers that a crop's network starts from."""
    return sum(out * inside * side * side for out, inside, side in _shapes(channels))


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

    uniform: [crops, points] numbers in 0..1 that the draw is made of, with replacement.
    """
    count = max(1, round(share * values.shape[1]))
    order = values.argsort(dim=1, descending=True, stable=True)[:, :count]
    return order.gather(1, (uniform * count).long().clamp(max=count - 1))


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
    fore = ranked_points(values, foreground, uniform.shape[2], uniform[:, 0])
    outer = -values if background == "least" else frame_values(side, crops.device).expand_as(values)
    back = ranked_points(outer, background_share, uniform.shape[2], uniform[:, 1])
    points = torch.cat([fore, back], 1)
    target = torch.zeros(points.shape, device=crops.device)
    target[:, : fore.shape[1]] = 1
    pixels = _normalise(crops.reshape(1, -1, side, side))
    weights = [w.requires_grad_() for w in initial_weights(normal, channels)]
    speed = [torch.zeros_like(w) for w in weights]
    with torch.enable_grad():
        for _ in range(steps):
            logits = forward(pixels, weights).gather(1, points)
            loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1).sum()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for w, v, g in zip(weights, speed, gradients):
                    v.mul_(MOMENTUM).add_(g)
                    w.sub_(lr * v)
    with torch.no_grad():
        return forward(pixels, weights).sigmoid().view(len(crops), side, side)
