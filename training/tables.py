"""Rows of tables as what a detector learns from: text embeddings of names, and annotations that can be learned."""

import logging
from collections.abc import Collection, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger("cap2mask")


def text_vectors(rows: list[dict], device: str) -> Tensor:
    """The vectors of rows of `embeddings`, [names, dimension] float32 on a device."""
    return torch.tensor(np.array([row["vector"] for row in rows], np.float32)).to(device)


def learnable_annotations(
    rows: Iterable[dict], image_ids: Collection[str], categories: Collection[str]
) -> Iterator[dict]:
    """The rows of `annotations` of those categories in those images that a detector can learn from: no crowds, no box
    with a side below one pixel. Behind the last row the log is told how many there were, in how many images, and how many have
    a box alone.

    With COCO's base categories the log's first numbers are the 107,761 training images and 665,387 masks of XPM, 4.1:
    images that hold an annotation of a base category, crowds counted. Images that hold nothing to learn are left out.
    """
    holding, annotations, learnable_images, learnable, boxes = set(), 0, set(), 0, 0
    for row in rows:
        if row["image_id"] not in image_ids or row["category"] not in categories:
            continue
        holding.add(row["image_id"])
        annotations += 1
        if not row["iscrowd"] and min(row["bbox"][2:]) >= 1:
            learnable_images.add(row["image_id"])
            learnable += 1
            boxes += row["segmentation"] is None
            yield row
    log.info(
        "%d images hold %d annotations of base categories; without crowds and boxes below a pixel, %d images hold %d",
        len(holding),
        annotations,
        len(learnable_images),
        learnable,
    )
    if boxes:
        log.info("%d of these have a box alone, which teaches boxes and names, and no mask", boxes)
