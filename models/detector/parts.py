"""What the detector is made of, backbone by backbone: features, anchors, box head, mask head (He et al., 2017).

"resnet50" has a feature pyramid (FPN); "resnet50_c4" works on the fourth stage's one map and shares its fifth stage
between box and mask head, as the code base of OVR and XPM does; "small" is for small data.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from models.backbones import build_backbone, build_c4
from models.detector.roi_pooling import SmallMapRoIAlign


@dataclass
class Parts:
    """features: images [batch, 3, h, w] to maps "0", "1" … of `channels`; levels: those that regions are pooled from,
    of so many pixels' strides, at box_side and mask_side cells; anchors: sizes in pixels, of each map; hidden: width of box_head's output;
    ranked, proposals: those of each map that the RPN ranks, and those of them that it keeps (non-maximum suppression);
    sampled: regions of an image in a step; pooling: RoIAlign, torchvision's or the one for small maps."""

    features: nn.Module
    channels: int
    levels: tuple[str, ...]
    strides: tuple[int, ...]
    anchors: tuple[tuple[int, ...], ...]
    box_head: nn.Module
    hidden: int
    mask_head: nn.Module
    mask_predictor: nn.Module
    ranked: dict[str, int]
    proposals: dict[str, int]
    sampled: int
    box_side: int = 7
    mask_side: int = 14
    pooling: type[MultiScaleRoIAlign] = MultiScaleRoIAlign


class _Pyramid(nn.Module):
    """Backbone and feature pyramid: [batch, 3, h, w] to maps "0", "1" … from fine to coarse.

    Maps are float32 under autocast, too, here and in _OneMap: anchors and boxes are made in their type, and bfloat16
    knows only every fourth pixel from 512 on.
    """

    def __init__(self, body: nn.Module, channels: list[int], levels: tuple[str, ...], width: int, extra: bool):
        super().__init__()
        self.body, self._levels = body, levels
        self.fpn = FeaturePyramidNetwork(channels, width, LastLevelMaxPool() if extra else None)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body(images)
        pyramid = self.fpn({str(i): maps[level] for i, level in enumerate(self._levels)})
        return {name: level.float() for name, level in pyramid.items()}


class _OneMap(nn.Module):
    """A backbone without a pyramid."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: level.float() for name, level in self.body(images).items()}


class _Mean(nn.Module):
    """A stage of the backbone over pooled regions, averaged: [n, channels, h, w] to [n, width]."""

    def __init__(self, stage: nn.Module):
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return self.stage(x).mean((-2, -1))


def build_parts(backbone: str, weights: dict | None, frozen: bool, trainable_layers: int) -> Parts:
    """The parts that go with a backbone: "small", "resnet50" or "resnet50_c4". The others: as for build_backbone."""
    if backbone == "resnet50_c4":
        body, stage = build_c4(weights, frozen=frozen, trainable_layers=trainable_layers)
        return Parts(
            features=_OneMap(body),
            channels=1024,
            levels=("0",),
            strides=(16,),
            anchors=((32, 64, 128, 256, 512),),
            box_head=_Mean(stage),
            hidden=2048,
            mask_head=stage,
            mask_predictor=MaskRCNNPredictor(2048, 256, 1),
            ranked={
                "training": 12000,
                "testing": 6000,
            },  # maskrcnn-benchmark's defaults, of which C4 has all on one map
            proposals={"training": 2000, "testing": 1000},
            sampled=512,
            box_side=14,
        )
    body, channels, strides = build_backbone(backbone, weights, frozen=frozen, trainable_layers=trainable_layers)
    if backbone == "small":
        levels, width, extra, hidden, layers = ("1", "2", "3"), 96, False, 256, (96, 96)
        anchors, proposals, sampled = (20, 40, 72), {"training": 300, "testing": 100}, 64
    else:
        levels, width, extra, hidden, layers = ("0", "1", "2", "3"), 256, True, 1024, (256,) * 4
        anchors, proposals, sampled = (32, 64, 128, 256, 512), {"training": 2000, "testing": 1000}, 512
    return Parts(
        features=_Pyramid(body, [channels[int(i)] for i in levels], levels, width, extra),
        channels=width,
        levels=tuple(str(i) for i in range(len(levels))),
        strides=tuple(strides[int(i)] for i in levels),
        anchors=tuple((size,) for size in anchors),
        box_head=TwoMLPHead(width * 49, hidden),
        hidden=hidden,
        mask_head=MaskRCNNHeads(width, layers, 1),
        mask_predictor=MaskRCNNPredictor(layers[-1], layers[-1], 1),
        ranked=proposals,
        proposals=proposals,
        sampled=sampled,
        pooling=SmallMapRoIAlign if backbone == "small" else MultiScaleRoIAlign,
    )
