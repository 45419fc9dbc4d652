"""Heads that open-vocabulary detectors differ in: what the background is (OVR, XPM, SB, BA-RPN), and a mask prior
(OMP)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead

BACKGROUNDS = ("learned", "text", "zero", "unit", "rpn")


class EmbeddingHead(nn.Module):
    """Region features to the embedding h(r) and one box offset; knows the background's embedding.

    background: "learned", of unit length (ours); "text", that of a description of the background, which set_background
    gives (OVIS, Eq. 8); "zero", fixed (OVR; XPM, 3.2.1); "unit", a fixed vector of norm one (SB, Bansal et al., 2018);
    "rpn", the one by which the region proposal network tells the background (BA-RPN, Zheng et al., 2021).
    """

    def __init__(self, hidden: int, dimension: int, background: str = "learned"):
        super().__init__()
        if background not in BACKGROUNDS:
            raise ValueError(f"no background {background!r}: {', '.join(BACKGROUNDS)}")
        self.embedding = nn.Linear(hidden, dimension)
        self.box = nn.Linear(hidden, 4)
        self._kind = background
        if background == "learned":
            self.background = nn.Parameter(torch.randn(dimension))
        elif background == "text":
            self.register_buffer("background", torch.zeros(dimension))
        elif background in ("zero", "unit"):
            vector = torch.zeros(dimension)
            vector[0] = float(background == "unit")
            self.register_buffer("background", vector, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding(x), self.box(x)

    def background_vector(self, rpn_head: nn.Module) -> Tensor:
        """[dimension]. rpn_head: the head of the region proposal network, asked where it holds the background."""
        if self._kind == "rpn":
            return rpn_head.background_vector()
        return F.normalize(self.background, dim=0) if self._kind == "learned" else self.background


class Float32RPNHead(RPNHead):
    """torchvision's, whose objectness and offsets are float32 under autocast, too: anchors are moved in their type."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, offsets = super().forward(x)
        return [level.float() for level in logits], [level.float() for level in offsets]


class BackgroundAwareRPNHead(RPNHead):
    """An RPN head that tells objects from background by two vectors in the space of the names (BA-RPN, Zheng et al.,
    2021): objectness = e . (object - background), with e the embedding of an anchor. The background vector serves the
    detection head, too."""

    def __init__(self, channels: int, anchors: int, dimension: int):
        super().__init__(channels, anchors)
        self.cls_logits = nn.Conv2d(channels, anchors * dimension, 1)
        nn.init.normal_(self.cls_logits.weight, std=0.01)
        nn.init.zeros_(self.cls_logits.bias)
        self.sides = nn.Parameter(torch.randn(2, dimension))

    def background_vector(self) -> Tensor:
        return F.normalize(self.sides[1], dim=0)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        sides = F.normalize(self.sides, dim=1)
        logits, offsets = [], []
        for features in x:
            hidden = self.conv(features)
            cells = self.cls_logits(hidden)
            anchors = cells.reshape(
                len(cells), -1, sides.shape[1], *cells.shape[-2:]
            )  # unflatten is traced with its numbers
            logits.append(torch.einsum("badhw,d->bahw", anchors, sides[0] - sides[1]).float())
            offsets.append(self.bbox_pred(hidden).float())
        return logits, offsets


class MaskPrior(nn.Module):
    """Spatial attention of the embedding head for the mask head (OMP, Biertimpel et al., 2021): each cell of a region
    has an embedding, whose mean joins h(r) and so learns names, and whose similarity with the region's own name is a
    map that, as large as they are, is added to the mask head's features."""

    def __init__(self, channels: int, dimension: int):
        super().__init__()
        self.cells = nn.Conv2d(channels, dimension, 1)
        self.strength = nn.Parameter(torch.zeros(()))

    def embed(self, pooled: Tensor) -> Tensor:
        """[regions, channels, side, side] to [regions, dimension]."""
        return self.cells(pooled).mean((-2, -1))

    def forward(self, pooled: Tensor, text: Tensor, side: int) -> Tensor:
        """[regions, channels, cells, cells] and the regions' names [regions, dimension] to [regions, 1, side, side]:
        features have half as many cells where a stage of the backbone made them (C4)."""
        prior = self.strength * torch.einsum("rdhw,rd->rhw", self.cells(pooled), text)[:, None]
        return prior if prior.shape[-1] == side else F.adaptive_avg_pool2d(prior, side)
