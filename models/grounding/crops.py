"""Cutting a box out of a picture with its activation, and putting a predicted mask back (Mask-free OVIS, 3.3)."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.grounding.maps import enlarged
from structures.masks import encode


@dataclass(frozen=True)
class Crop:
    """pixels: 3 x side x side float32 in 0..1; activation: side x side float32; inside: side x side bool, where the
    crop shows the box; window: x0, y0, x1, y1 in whole pixels of the picture that the crop shows; box: the same of the
    box, inside the window; size: height, width of the picture; phi: the activation at the window's own resolution."""

    pixels: np.ndarray
    activation: np.ndarray
    inside: np.ndarray
    window: tuple[int, int, int, int]
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    phi: np.ndarray


def cut_crop(
    image: np.ndarray,
    activation: np.ndarray,
    box: np.ndarray,
    *,
    side: int,
    margin: float,
    interpolation: str = "linear",
) -> Crop | None:
    """The crop of a box (xyxy pixels), enlarged by `margin` of its sides where the picture allows.

    image: height x width x 3 uint8; activation: h x w cells over the whole picture; interpolation: how they are enlarged
    to it, "nearest" (OVIS, Fig. 12: the crop has no value that the cells have not) or "linear".
    None where the box holds fewer than 2 x 2 whole pixels.
    """
    height, width = image.shape[:2]
    x0, y0 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    dx, dy = round(margin * (x1 - x0)), round(margin * (y1 - y0))
    wx0, wy0, wx1, wy1 = max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)
    nearest = interpolation == "nearest"
    enlarge = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    phi = enlarged(activation, height, width, interpolation=interpolation)[wy0:wy1, wx0:wx1].copy()
    outside = np.ones(phi.shape, bool)
    outside[y0 - wy0 : y1 - wy0, x0 - wx0 : x1 - wx0] = False
    phi[outside] = 0
    shrink = cv2.INTER_AREA if max(phi.shape) > side else cv2.INTER_LINEAR
    pixels = cv2.resize(image[wy0:wy1, wx0:wx1], (side, side), interpolation=shrink)
    inside = np.zeros((side, side), bool)
    across, down = side / (wx1 - wx0), side / (wy1 - wy0)
    inside[
        round((y0 - wy0) * down) : round((y1 - wy0) * down), round((x0 - wx0) * across) : round((x1 - wx0) * across)
    ] = True
    return Crop(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255,
        activation=cv2.resize(phi, (side, side), interpolation=enlarge if nearest else shrink),
        inside=inside,
        window=(wx0, wy0, wx1, wy1),
        box=(x0, y0, x1, y1),
        size=(height, width),
        phi=phi,
    )


def lab_colours(pixels: np.ndarray) -> np.ndarray:
    """A crop's pixels as CIE Lab over 100: differences of equal size look equally large."""
    lab = cv2.cvtColor(np.ascontiguousarray(pixels.transpose(1, 2, 0)), cv2.COLOR_RGB2LAB)
    return np.ascontiguousarray(lab.transpose(2, 0, 1)) / 100


def paste_mask(probability: np.ndarray, crop: Crop) -> dict | None:
    """The mask where the probability (side x side) is above one half, inside the box.

    Returns segmentation (COCO RLE), area (pixels) and agreement (mean activation inside the mask less outside it,
    within the box); None for an empty mask.
    """
    wx0, wy0, wx1, wy1 = crop.window
    x0, y0, x1, y1 = crop.box
    part = cv2.resize(probability, (wx1 - wx0, wy1 - wy0), interpolation=cv2.INTER_LINEAR) > 0.5
    inner = (slice(y0 - wy0, y1 - wy0), slice(x0 - wx0, x1 - wx0))
    inside, phi = part[inner], crop.phi[inner]
    if not inside.any():
        return None
    mask = np.zeros(crop.size, np.uint8)
    mask[y0:y1, x0:x1] = inside
    return {"segmentation": encode(mask), "area": float(inside.sum()), "agreement": agreement(inside, phi)}


def agreement(mask: np.ndarray, activation: np.ndarray) -> float:
    """The mean activation inside a mask less that outside it, -1 to 1. mask: [height, width] bool, of a box; activation:
    of the same pixels. What has no pixels has a mean of 0."""
    inside, outside = activation[mask], activation[~mask]
    return (float(inside.mean()) if inside.size else 0.0) - (float(outside.mean()) if outside.size else 0.0)
