"""Rows of tables as what a detector learns from: text embeddings of names, and annotations that can be learned."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor


def text_vectors(rows: list[dict], device: str) -> Tensor:
    """The vectors of rows of `embeddings`, [names, dimension] float32 on a device."""
    return torch.tensor(np.array([row["vector"] for row in rows], np.float32)).to(device)


def learnable_annotations(
    rows: Iterable[dict], image_ids: Collection[str], categories: Collection[str]
) -> Iterator[dict]:
    """The rows of `annotations` of those categories in those images that a detector can learn from: no crowds, no box
    with a side below one pixel."""
    for row in rows:
        wanted = row["image_id"] in image_ids and row["category"] in categories
        if wanted and not row["iscrowd"] and min(row["bbox"][2:]) >= 1:
            yield row
