"""Feature extractors of the proposal network and the detector: torchvision's ResNet-50, and a small one for small data.

Each is a module of four named stages that returns {"0": stride 4, "1": 8, "2": 16, "3": 32} for ResNet-50, and
strides 2, 4, 8, 16 for the small one; normalisation layers are frozen once pretrained, as detectors do.
"""

from collections import OrderedDict

import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import FrozenBatchNorm2d

from structures.errors import UserError
from structures.tensors import TensorsError, misfits, read_tensors, told

SMALL_WIDTHS = (32, 64, 128, 256)
LAYERS = 5  # of every backbone: the stem and four stages


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
    name: str, weights: dict[str, Tensor] | None = None, *, frozen: bool, trainable_layers: int = LAYERS
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """A backbone ("small" or "resnet50"), its channels and its strides.

    weights: a state dict of SmallBackbone, or of torchvision's resnet50 (a classifier's `fc` is passed over); None
    starts from nothing. frozen: normalise by stored statistics, right for all weights that were trained.
    trainable_layers: so many of the LAYERS learn, from the last one back, as torchvision counts them. Raises
    BackboneError where the weights don't fit.
    """
    if name == "small":
        network = SmallBackbone(FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
        _load(network, name, weights)
        _hold([network.stem, *network.stages], trainable_layers)
        return network, SMALL_WIDTHS, (2, 4, 8, 16)
    maps = {f"layer{i}": str(i - 1) for i in range(1, 5)}
    network = _resnet50(weights, frozen, trainable_layers)
    return create_feature_extractor(network, maps), (256, 512, 1024, 2048), (4, 8, 16, 32)


def build_c4(
    weights: dict[str, Tensor] | None = None, *, frozen: bool, trainable_layers: int = LAYERS
) -> tuple[nn.Module, nn.Module]:
    """ResNet-50 cut after its fourth stage (C4): a body whose map "0" has 1,024 channels at stride 16, and the fifth
    stage, 1,024 to 2,048 channels at half the size. Arguments and errors: as build_backbone."""
    network = _resnet50(weights, frozen, trainable_layers)
    return create_feature_extractor(network, {"layer3": "0"}), network.layer4


def _resnet50(weights: dict[str, Tensor] | None, frozen: bool, trainable_layers: int) -> nn.Module:
    network = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d)
    _load(network, "resnet50", weights)
    stem = nn.ModuleList([network.conv1, network.bn1])
    _hold([stem, network.layer1, network.layer2, network.layer3, network.layer4], trainable_layers)
    return network


def _hold(layers: list[nn.Module], trainable_layers: int) -> None:
    """Keep all but the last so many layers as they are."""
    for layer in layers[: LAYERS - trainable_layers]:
        layer.requires_grad_(False)


class BackboneWeights(dict):
    """The tensors of a pretrained backbone by name, and the file that they are of."""

    def __init__(self, tensors: dict[str, Tensor], source: str):
        super().__init__(tensors)
        self.source = source


def _load(network: nn.Module, name: str, weights: dict[str, Tensor] | None) -> None:
    """Take over weights, as float32; the classifier of either side is passed over."""
    if weights is None:
        return
    classifier = ("fc.",) if name == "resnet50" else ()
    of_backbone = {
        key: value.float() if value.is_floating_point() else value
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked") and not key.startswith(classifier or ("\0",))
    }
    faults = misfits(network.state_dict(), of_backbone, classifier)
    if faults:
        source = getattr(weights, "source", "these weights")
        raise BackboneError(f"{source} is no {name} backbone: {told(faults)}")
    network.load_state_dict(of_backbone, strict=False)


def read_backbone_weights(path, trainable_layers: int = LAYERS) -> dict[str, Tensor] | None:
    """The tensors of a .safetensors or .pth file; None without one. Raises BackboneError where it can't be read without
    running code, and where without a file not all layers are to learn."""
    if path is None:
        if trainable_layers < LAYERS:
            raise BackboneError(
                f"without weights there is nothing for {LAYERS - trainable_layers} layers of the backbone to keep: "
                f"name weights, or set trainable_layers to {LAYERS}"
            )
        return None
    try:
        return BackboneWeights(read_tensors(path)[0], str(path))
    except TensorsError as error:
        raise BackboneError(str(error)) from error
