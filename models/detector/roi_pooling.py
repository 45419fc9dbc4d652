"""RoIAlign (He et al., 2017) over several maps as products of matrices, for small maps.

A pooled cell is the mean of bilinear samples on a grid, and both are products of a part along y and a part along x:

    pooled[r] = Y[r] F X[r]'   with Y[r]: cells x height, X[r]: cells x width

torchvision's kernel walks through the samples and, on a processor, adds up their gradients on one thread; products of
matrices use all of them. On maps of a few thousand cells they win; on large maps the kernel does.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops.poolers import MultiScaleRoIAlign, initLevelMapper


def know_strides(pooling: MultiScaleRoIAlign, strides: Sequence[int]) -> MultiScaleRoIAlign:
    """Tell a pooling the strides of its maps, finest first. By itself it infers them from the first image that it sees, for all
    that come after, and takes the wrong ones from an image many times as wide as high."""
    pooling.scales = [1 / stride for stride in strides]
    first, last = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    scale, level = pooling.canonical_scale, pooling.canonical_level
    pooling.map_levels = initLevelMapper(first, last, canonical_scale=scale, canonical_level=level)
    return pooling


class SmallMapRoIAlign(MultiScaleRoIAlign):
    """As torchvision's, which says what the arguments are; each region is pooled from the level of its size. Its maps' strides
    are those that know_strides says."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Maps [batch, channels, h, w] by name, boxes [n, 4] xyxy of each image, to [regions, channels, side, side]."""
        maps = [x[name] for name in self.featmap_names]
        levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(sum(map(len, boxes)), device=maps[0].device)
        places, pooled, first = [], [], 0
        for image, rects in enumerate(boxes):
            level = levels[first : first + len(rects)]
            for number, (features, scale) in enumerate(zip(maps, self.scales)):
                chosen = (level == number).nonzero().squeeze(1)
                if len(chosen):
                    places.append(first + chosen)
                    pooled.append(
                        pool(features[image], rects[chosen] * scale, self.output_size[0], self.sampling_ratio)
                    )
            first += len(rects)
        if not pooled:
            return maps[0].new_zeros(0, maps[0].shape[1], *self.output_size)
        order = torch.cat(places).argsort()
        return torch.cat(pooled)[order]


def pool(features: Tensor, boxes: Tensor, side: int, samples: int) -> Tensor:
    """[channels, h, w] and boxes [n, 4] xyxy, in cells of the map, to [n, channels, side, side] float32."""
    channels, height, width = features.shape
    rows = bin_weights(boxes[:, 1], boxes[:, 3], side, samples, height)
    columns = bin_weights(boxes[:, 0], boxes[:, 2], side, samples, width)
    with torch.autocast(features.device.type, enabled=False):
        cells = features.float().permute(1, 2, 0).reshape(height, width * channels)
        bands = (rows.flatten(0, 1) @ cells).view(len(boxes), side, width, channels)
        return (columns[:, None] @ bands).permute(0, 3, 1, 2)


def bin_weights(start: Tensor, end: Tensor, bins: int, samples: int, length: int) -> Tensor:
    """How much each of `length` cells counts in the mean of `samples` bilinear samples of each bin: [n, bins, length].

    start, end: [n], in cells; shorter ones than a cell are taken as one cell long, samples beyond the map's border by
    more than a cell count nothing, as in torchvision's roi_align.
    """
    size = (end - start).clamp(min=1) / bins
    step = (torch.arange(bins * samples, device=start.device) + 0.5) / samples
    place = (start[:, None] + step * size[:, None]).float()
    counts = ((place >= -1) & (place <= length)).float() / samples
    place = place.clamp(0, length - 1)
    low = place.floor().long().clamp(max=length - 1)
    fraction = place - low
    weights = torch.zeros(len(start), bins * samples, length, device=start.device)
    weights.scatter_add_(2, low[..., None], ((1 - fraction) * counts)[..., None])
    weights.scatter_add_(2, (low + 1).clamp(max=length - 1)[..., None], (fraction * counts)[..., None])
    return weights.unflatten(1, (bins, samples)).sum(2)
