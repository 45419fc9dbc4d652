"""Weakly-supervised segmentation of one crop by a three-layer network trained on that crop alone (OVIS, Eq. 7).

    L = sum over Z foreground points of CE(s(f), 1) + sum over Z background points of CE(s(b), 0)

Many crops train at once; every operation is a batched matrix product over crops, so each trains as it would alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTUM = 0.9
FEW = 4


def initial_weights(normal: Tensor, channels: int) -> list[Tensor]:
    """Split [crops, weight_count(channels)] standard normal numbers into the layers' weights, scaled as He et al. do."""
    shapes = _shapes(channels)
    parts = normal.split([rows * columns for rows, columns in shapes], dim=1)
    return [
        part.view(len(normal), rows, columns) * (2 / columns) ** 0.5 for part, (rows, columns) in zip(parts, shapes)
    ]


def weight_count(channels: int) -> int:
    """Numbers that a crop's network starts from."""
    return sum(rows * columns for rows, columns in _shapes(channels))


def _shapes(channels: int) -> list[tuple[int, int]]:
    return [(channels, 3 * 9), (channels, channels * 9), (1, channels)]


def _normalise(x: Tensor) -> Tensor:
    """Batch normalisation of a batch of one: over the pixels of a crop."""
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def forward(columns: Tensor, weights: list[Tensor], side: int) -> Tensor:
    """Logits [crops, side * side]. columns: the crops' 3 x 3 neighbourhoods, [crops, 27, side * side]."""
    first, second, third = weights
    x = F.relu(_normalise(first @ columns))
    x = F.unfold(x.unflatten(-1, (side, side)), 3, padding=1)
    x = F.relu(_normalise(second @ x))
    return (third @ x).squeeze(1)


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

    Returns foreground probabilities [crops, side, side]. A processor takes a few crops at a time, whose neighbourhoods
    stay in its cache.
    """
    few = len(crops) if crops.is_cuda else FEW
    parts = zip(*(tensor.split(few) for tensor in (crops, activation, normal, uniform)))
    options = {"channels": channels, "steps": steps, "lr": lr, "foreground": foreground}
    options |= {"background": background, "background_share": background_share}
    return torch.cat([_segment_few(*part, **options) for part in parts])


def _segment_few(crops, activation, normal, uniform, *, channels, steps, lr, foreground, background, background_share):
    if len(crops) == 1:  # a product of one matrix takes another kernel than one of several
        pair = [tensor.expand(2, *tensor.shape[1:]) for tensor in (crops, activation, normal, uniform)]
        options = {"channels": channels, "steps": steps, "lr": lr, "foreground": foreground}
        return _segment_few(*pair, **options, background=background, background_share=background_share)[:1]
    side = crops.shape[-1]
    values = activation.flatten(1)
    fore = ranked_points(values, foreground, uniform.shape[2], uniform[:, 0])
    outer = -values if background == "least" else frame_values(side, crops.device).expand_as(values)
    back = ranked_points(outer, background_share, uniform.shape[2], uniform[:, 1])
    points = torch.cat([fore, back], 1)
    target = torch.zeros(points.shape, device=crops.device)
    target[:, : fore.shape[1]] = 1
    pixels = crops.flatten(2)
    columns = F.unfold(_normalise(pixels).unflatten(-1, (side, side)), 3, padding=1)
    weights = [w.requires_grad_() for w in initial_weights(normal, channels)]
    speed = [torch.zeros_like(w) for w in weights]
    with torch.enable_grad():
        for _ in range(steps):
            logits = forward(columns, weights, side).gather(1, points)
            loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1).sum()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for w, v, g in zip(weights, speed, gradients):
                    v.mul_(MOMENTUM).add_(g)
                    w.sub_(lr * v)
    with torch.no_grad():
        return forward(columns, weights, side).sigmoid().unflatten(-1, (side, side))
