"""The procedures of the published code, written as the papers describe them and fast within that: what the rows of
`gradcam` and `segment` are compared with."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.grounding.gradcam import mask_activated, normalise


def gradcam_loop(
    model, images: Tensor, ids: Tensor, mask: Tensor, nouns: Tensor, *, layer: int, iterations: int
) -> Tensor:
    """Eqs. 1 to 4, an image at a time: for every image of a batch a full backward pass through both encoders.

    Arguments and result [batch, iterations, grid, grid] as of models.grounding.gradcam.iterative_gradcam, one noun an
    image, S the match logit.
    """
    maps = []
    for _ in range(iterations):
        fused, weights = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(images), keep=(layer,))
        attention = weights[layer]
        attention.retain_grad()
        logits = model.match_logits(fused)[:, 1]
        noun_maps = []
        for i, logit in enumerate(logits):
            model.zero_grad(set_to_none=True)
            attention.grad = None
            logit.backward(retain_graph=i + 1 < len(logits))
            by_token = (attention[i].detach() * attention.grad[i].clamp(min=0)).mean(0)[:, 1:]
            noun_maps.append((by_token * nouns[i, :, None]).sum(0))
        side = round(noun_maps[0].shape[-1] ** 0.5)
        activation = normalise(torch.stack(noun_maps).unflatten(-1, (side, side)))
        maps.append(activation)
        images = mask_activated(images, activation)
    return torch.stack(maps, 1)


def crop_network(
    crop: Tensor, activation: Tensor, *, channels=128, steps=400, lr=0.25, points=200, share=0.2, frame=0.06, seed=0
) -> Tensor:
    """Eq. 7 on one crop of its own size: three convolutions of `channels`, momentum SGD.

    crop: [3, h, w]; activation: [h, w]; points are drawn from the most activated `share` and from a thin frame of the
    box, as the published code does. Returns foreground probabilities [h, w].
    """
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, 2, 1),
    ).to(crop.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    height, width = activation.shape
    ranked = activation.flatten().argsort(descending=True)
    front = ranked[: max(1, round(share * len(ranked)))]
    border = torch.ones_like(activation, dtype=torch.bool)
    dy, dx = max(1, round(frame * height)), max(1, round(frame * width))
    border[dy:-dy, dx:-dx] = False
    back = border.flatten().nonzero().squeeze(1)
    rng = np.random.default_rng(seed)
    chosen = torch.cat([part[torch.from_numpy(rng.integers(len(part), size=points))] for part in (front, back)])
    target = torch.tensor([1] * points + [0] * points, device=crop.device)
    batch = ((crop - crop.mean()) / crop.std())[None].contiguous(memory_format=torch.channels_last)
    for _ in range(steps):
        logits = network(batch)[0].flatten(1)[:, chosen]
        loss = F.cross_entropy(logits.t(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return network(batch)[0].softmax(0)[1]
