"""Annotated objects of a picture as what a detector learns from: boxes, class numbers, masks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from sources.images import read_image
from training.loader import Rows, StepLoader


def by_image(annotations: list[dict]) -> dict[str, list[dict]]:
    """Rows of a table grouped by their image_id, in their order."""
    grouped: dict[str, list[dict]] = {}
    for row in annotations:
        grouped.setdefault(row["image_id"], []).append(row)
    return grouped


def training_item(root: Path, path: str, annotations: list[dict], number: dict[str, int]) -> tuple[Tensor, dict]:
    """A picture [3, h, w] float32 in 0..1 and its target: boxes [n, 4] xyxy pixels, labels [n], masks [n, h, w] uint8.

    annotations: rows with category, bbox (xywh) and segmentation (RLE); number: {category: its label, from 1 on}.
    """
    picture = to_tensor(read_image(root, path))
    masks = torch.from_numpy(np.stack([coco_mask.decode(row["segmentation"]) for row in annotations]))
    boxes = torch.tensor(np.array([row["bbox"] for row in annotations], np.float32))
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([number[row["category"]] for row in annotations])
    return picture, {"boxes": boxes, "labels": labels, "masks": masks}


def mirrored(picture: Tensor, target: dict) -> tuple[Tensor, dict]:
    """The same, left and right exchanged."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = picture.shape[-1] - boxes[:, [2, 0]]
    return picture.flip(-1), target | {"boxes": boxes, "masks": target["masks"].flip(-1)}


def object_batches(
    root: Path, data: list[tuple[str, list[dict]]], categories: list[str], *, seed: int, batch: int, **sharing
) -> Callable[[int], list[tuple[Tensor, dict]]]:
    """batches(step) of training items, half of them mirrored by coins of torch's global generator.

    data: of each picture its path and its annotations; categories: in the order of their labels; sharing: what else
    StepLoader takes.
    """
    number = {name: i for i, name in enumerate(categories, start=1)}
    rows = Rows(data, lambda row: training_item(root, *row, number))
    loader = StepLoader(rows, batch=batch, seed=seed, **sharing)
    return lambda step: [mirrored(*item) if torch.rand(()) < 0.5 else item for item in loader(step)]


def student_batches(
    root: Path,
    data: list[tuple[str, list[dict], list[dict]]],
    categories: list[str],
    *,
    seed: int,
    batch: int,
    **sharing,
) -> Callable[[int], list[tuple[Tensor, dict]]]:
    """As object_batches, of annotations and pseudo-masks together; targets as models.xpm.student.RobustStudent.losses wants
    them.

    data: of each picture its path, its annotations and its rows of `student_labels`.
    """
    number = {name: i for i, name in enumerate(categories, start=1)}
    rows = Rows(data, lambda row: student_item(root, *row, number))
    loader = StepLoader(rows, batch=batch, seed=seed, **sharing)
    return lambda step: [mirrored(*item) if torch.rand(()) < 0.5 else item for item in loader(step)]


def student_item(
    root: Path, path: str, drawn: list[dict], made: list[dict], number: dict[str, int]
) -> tuple[Tensor, dict]:
    """A picture and its target: that of training_item over annotations and pseudo-masks, with pseudo [n] bool, trust [n]
    float32 and annotated [] bool (whether there are annotations)."""
    as_drawn = [row | {"bbox": _xywh(row["box"])} for row in made]
    picture, target = training_item(root, path, drawn + as_drawn, number)
    pseudo = torch.tensor([False] * len(drawn) + [True] * len(made))
    trust = torch.tensor([1.0] * len(drawn) + [float(row["trust"]) for row in made])
    return picture, target | {"pseudo": pseudo, "trust": trust, "annotated": torch.tensor(bool(drawn))}


def _xywh(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]
