"""Feature extractors of the proposal network and the detector: torchvision's ResNet-50, and a small one for small data.

Each is a module of four named stages that returns {"0": stride 4, "1": 8, "2": 16, "3": 32} for ResNet-50, and
strides 2, 4, 8, 16 for the small one; normalisation layers are frozen once pretrained, as detectors do.
"""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FrozenBatchNorm2d

from structures.errors import UserError

SMALL_WIDTHS = (32, 64, 128, 256)


class BackboneError(UserError):
    """Weights that don't fit the backbone."""


class _Block(nn.Module):
    """A residual block of two 3 x 3 convolutions."""

    def __init__(self, width_in: int, width: int, stride: int, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm(width)
        self.short = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), norm(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.short(x)).relu()


class SmallBackbone(nn.Module):
    """Images [batch, 3, h, w] to four maps of SMALL_WIDTHS channels at strides 2, 4, 8 and 16."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        widths = SMALL_WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), norm(widths[0]), nn.ReLU())
        self.stages = nn.ModuleList(
            _Block(widths[max(i - 1, 0)], width, 1 if i == 0 else 2, norm) for i, width in enumerate(widths)
        )

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        x = self.stem(images)
        out = OrderedDict()
        for i, stage in enumerate(self.stages):
            x = stage(x)
            out[str(i)] = x
        return out


class SmallClassifier(nn.Module):
    """The small backbone, averaged, with a linear classifier: [batch, 3, h, w] to [batch, classes]."""

    def __init__(self, classes: int):
        super().__init__()
        self.backbone = SmallBackbone()
        self.head = nn.Linear(SMALL_WIDTHS[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)["3"].mean((-2, -1)))


def build_backbone(
    name: str, weights: dict[str, Tensor] | None = None, *, frozen: bool
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """A backbone ("small" or "resnet50"), its channels and its strides.

    weights: a state dict of SmallBackbone, or of torchvision's resnet50 (a classifier's `fc` is passed over); None
    starts from nothing. frozen: normalise by stored statistics, right for all weights that were trained. Raises
    BackboneError where the weights don't fit.
    """
    if name == "small":
        network = SmallBackbone(FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
        _load(network, name, weights)
        return network, SMALL_WIDTHS, (2, 4, 8, 16)
    maps = {f"layer{i}": str(i - 1) for i in range(1, 5)}
    return create_feature_extractor(_resnet50(weights, frozen), maps), (256, 512, 1024, 2048), (4, 8, 16, 32)


def build_c4(weights: dict[str, Tensor] | None = None, *, frozen: bool) -> tuple[nn.Module, nn.Module]:
    """ResNet-50 cut after its fourth stage (C4): a body whose map "0" has 1,024 channels at stride 16, and the fifth
    stage, 1,024 to 2,048 channels at half the size. weights, frozen, errors: as build_backbone."""
    network = _resnet50(weights, frozen)
    return create_feature_extractor(network, {"layer3": "0"}), network.layer4


def _resnet50(weights: dict[str, Tensor] | None, frozen: bool) -> nn.Module:
    network = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
    _load(network, "resnet50", weights)
    return network


def _load(network: nn.Module, name: str, weights: dict[str, Tensor] | None) -> None:
    """Take over weights, as float32; the classifier of either side is passed over."""
    if weights is None:
        return
    of_backbone = {
        key: value.float()
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked") and not (name == "resnet50" and key.startswith("fc."))
    }
    missing, unknown = network.load_state_dict(of_backbone, strict=False)
    missing = [key for key in missing if not key.startswith("fc.")]
    if missing or unknown:
        faults = [f"missing {key}" for key in missing] + [f"unknown {key}" for key in unknown]
        raise BackboneError(f"these weights are no {name} backbone: {', '.join(faults[:8])} … ({len(faults)} in all)")


def read_backbone_weights(path) -> dict[str, Tensor] | None:
    """The tensors of a .safetensors or .pth file; None without one. Raises BackboneError where it can't be read without
    running code."""
    from safetensors.torch import load_file

    if path is None:
        return None
    try:
        if str(path).endswith(".safetensors"):
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BackboneError(f"{path} can't be read as plain weights: {error}") from error
