"""What the gallery shows of pictures, masks, boxes and maps, at the size of its own pictures."""

import base64
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike

from structures.masks import decode, encode

_QUALITY = 88  # of JPEG


@dataclass(frozen=True)
class Small:
    """A picture of `height` x `width` pixels as the gallery keeps it: no side longer than `side` pixels, never enlarged."""

    height: int
    width: int
    side: int

    @cached_property
    def scale(self) -> float:
        """Its pixels for one of the picture's, at most 1."""
        return min(1.0, self.side / max(self.height, self.width))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels, each at least 1."""
        return max(1, round(self.height * self.scale)), max(1, round(self.width * self.scale))

    def jpeg(self, picture: np.ndarray) -> bytes:
        """The picture, height x width x 3 uint8 RGB, as the bytes of a JPEG file."""
        if self.scale < 1:
            picture = cv2.resize(picture, self.shape[::-1], interpolation=cv2.INTER_AREA)
        encoded, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not encoded:
            raise ValueError(f"a picture of shape {picture.shape} can't be a JPEG file")
        return data.tobytes()

    def counts(self, segmentation: dict) -> str:
        """The compressed counts of COCO RLE of a mask of the picture, at the small picture's size."""
        if self.scale == 1:
            return segmentation["counts"]
        mask = decode(segmentation).astype(np.uint8)
        return encode(cv2.resize(mask, self.shape[::-1], interpolation=cv2.INTER_NEAREST))["counts"]

    def boxes(self, boxes: ArrayLike) -> list:
        """Boxes (... x 4, xyxy, pixels of the picture) in pixels of the small one, to a tenth."""
        return np.round(np.asarray(boxes, np.float64) * self.scale, 1).tolist()


def packed(values: np.ndarray) -> str:
    """Numbers in 0..1, of any shape, as one byte each, row-major, in base64; what lies outside is brought to the end that is
    nearer."""
    cells = np.round(np.clip(np.asarray(values, np.float32), 0, 1) * 255).astype(np.uint8)
    return base64.b64encode(cells.tobytes()).decode("ascii")


def number(value: float) -> float | int:
    """A number to four digits, as text of JSON holds it shortly; None where it is not finite."""
    value = float(value)
    if not np.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short == int(short) else short
