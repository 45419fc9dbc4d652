"""Rows of tables as what a detector learns from: text embeddings of names, and annotations that can be learned."""

import logging
from collections.abc import Collection, Iterable

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger("cap2mask")
LOOKED_AT = {  # columns by which images are chosen, of the tables that a detector learns from
    "annotations": ["image_id", "category", "bbox", "iscrowd", "segmentation.size"],
    "kept_labels": ["image_id", "category"],
    "student_labels": ["image_id", "category", "weight"],
}


def text_vectors(rows: list[dict], device: str) -> Tensor:
    """The vectors of rows of `embeddings`, [names, dimension] float32 on a device."""
    return torch.tensor(np.array([row["vector"] for row in rows], np.float32)).to(device)


def learnable_annotations(rows: Iterable[dict], categories: Collection[str]) -> list[dict]:
    """The rows of `annotations` of those categories that a detector can learn from: no crowds, no box with a side below
    one pixel."""
    return [row for row in rows if row["category"] in categories and not row["iscrowd"] and min(row["bbox"][2:]) >= 1]


class LearnableImages:
    """Says of each training image whether a detector can learn from its annotations, and counts.

    With COCO's base categories the first numbers of the log are the 107,761 training images and 665,387 masks of XPM, 4.1:
    images that hold an annotation of a base category, crowds counted. Images that hold nothing to learn are left out. boxes: of
    the learnable annotations, how many have a box alone.
    """

    def __init__(self, categories: Collection[str]):
        self.categories = categories
        self.holding = self.annotations = self.images = self.learnable = self.boxes = 0

    def learnable_in(self, rows: list[dict]) -> bool:
        """Whether any of an image's annotations can be learned."""
        known = sum(row["category"] in self.categories for row in rows)
        learnable = learnable_annotations(rows, self.categories)
        self.holding += known > 0
        self.annotations += known
        self.images += bool(learnable)
        self.learnable += len(learnable)
        self.boxes += sum(row["segmentation"] is None for row in learnable)
        return bool(learnable)

    def log(self) -> None:
        """Tell how many images and annotations there were, and how many of these have a box alone."""
        log.info(
            "%d images hold %d annotations of base categories; without crowds and boxes below a pixel, %d images hold %d",
            self.holding,
            self.annotations,
            self.images,
            self.learnable,
        )
        if self.boxes:
            log.info("%d of these have a box alone, which teaches boxes and names, and no mask", self.boxes)
