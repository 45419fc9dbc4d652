"""Annotated and pseudo-labelled objects of a picture as what a detector learns from: boxes, labels, masks."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from sources.images import read_image
from structures.pictures import uint8_tensor
from structures.roots import Root
from training.loader import Rows, StepLoader

_MIRROR = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.ToPureTensor()])


def label_numbers(categories: Iterable[str]) -> dict[str, int]:
    """{category: its label}, from 1 on in their order; 0 is the background, as in torchvision."""
    return {category: label for label, category in enumerate(categories, start=1)}


def detection_target(
    picture: np.ndarray, annotations: list[dict], numbers: dict[str, int], pseudo_labels: list[dict] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture [3, h, w] uint8 and its target: boxes [n, 4] xyxy pixels, labels [n], masks [n, h, w] uint8.

    picture: [h, w, 3] uint8; annotations: rows with category, bbox (xywh) and segmentation (RLE, or None); numbers: {category:
    its label}. pseudo_labels, where given: rows of `student_labels`, which come after the annotations; then the target
    has pseudo [n] bool (which are pseudo-labels), weight [n] float32 (1 of annotations) and annotated [] bool (whether
    there are annotations), too. Rows that have a loss_weight give the target one, [n] float32. Where an annotation has a box
    alone (segmentation None) its mask is empty, and the target has outlined [n] bool, false for it. At least one object in all.
    """
    rows = annotations + [row | {"bbox": _xywh(row["box"])} for row in pseudo_labels or []]
    boxes = torch.tensor(np.array([row["bbox"] for row in rows], np.float32))
    boxes[:, 2:] += boxes[:, :2]
    target = {
        "boxes": boxes,
        "labels": torch.tensor([numbers[row["category"]] for row in rows]),
        "masks": torch.from_numpy(np.stack([_mask(row["segmentation"], picture.shape[:2]) for row in rows])),
    }
    if any(row["segmentation"] is None for row in rows):
        target["outlined"] = torch.tensor([row["segmentation"] is not None for row in rows])
    if "loss_weight" in rows[0]:
        target["loss_weight"] = torch.tensor([float(row["loss_weight"]) for row in rows])
    if pseudo_labels is not None:
        target |= {
            "pseudo": torch.tensor([False] * len(annotations) + [True] * len(pseudo_labels)),
            "weight": torch.tensor([1.0] * len(annotations) + [float(row["weight"]) for row in pseudo_labels]),
            "annotated": torch.tensor(bool(annotations)),
        }
    return uint8_tensor(picture), target


def detection_batches(
    root: Root,
    data: Sequence,
    categories: list[str],
    *,
    objects: Callable[..., tuple] = lambda *rows: rows,
    batch: int,
    seed: int,
    workers: int,
    accumulate: int,
) -> Callable[[int], list[tuple[Tensor, dict[str, Tensor]]]]:
    """batches(step): pictures and targets as detection_target gives them, half of them mirrored by torch's global
    generator.

    data: of each picture [its row of images] and its rows of other tables, read when they are asked for; objects: makes of
    the latter its annotations, and for a student its pseudo-labels, too; categories: in the order of their labels; the numbers: as for StepLoader.
    """
    numbers = label_numbers(categories)

    def load(item: tuple) -> tuple[Tensor, dict[str, Tensor]]:
        [image], *rows = item
        annotations, *pseudo_labels = objects(*rows)
        picture = read_image(root, image["path"], image["sha256"])
        return detection_target(picture, annotations, numbers, *pseudo_labels)

    loader = StepLoader(Rows(data, load), batch=batch, seed=seed, workers=workers, accumulate=accumulate)
    return lambda step: [mirror_at_random(*item) for item in loader(step)]


def mirror_at_random(picture: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture and its target, or with probability 1/2 both with left and right exchanged, by torch's global
    generator."""
    height, width = picture.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(height, width))
    typed = target | {"boxes": boxes, "masks": tv_tensors.Mask(target["masks"])}
    return _MIRROR(tv_tensors.Image(picture), typed)


def _mask(segmentation: dict | None, shape: tuple[int, int]) -> np.ndarray:
    return np.zeros(shape, np.uint8) if segmentation is None else coco_mask.decode(segmentation)


def _xywh(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]
