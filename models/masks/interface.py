"""What this project asks of a mask method (Mask-free OVIS, section 3.3), and how one is found by its name.

A method lives in one file, models/masks/NAME.py, and is chosen by the config key `segment.method: NAME`. The file has
one function `outline`, a MaskMethod; its parameters beside those of a MaskMethod are the config's sub-section NAME.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.grounding.crops import Crop
from structures.batches import batches
from structures.errors import UserError
from structures.modules import modules_with


class MaskMethod(Protocol):
    """Outlines the object of each crop."""

    def __call__(
        self, crops: list[Crop], rngs: list[np.random.Generator], *, batch: int, device: str, **options
    ) -> np.ndarray:
        """Object probabilities [crops, side, side] float32; paste_mask takes what is above one half.

        crops: 1 to `batch`, all of one side; rngs: each crop's own random numbers, so that a mask depends on no
        neighbour; batch: how many crops are computed together; device: where, as torch names it; options: the method's
        own parameters, keyword-only, by name.
        """


def load_method(name: str) -> MaskMethod:
    """The function `outline` of models/masks/NAME.py. Raises UserError listing the methods where there is none."""
    methods = modules_with("outline", Path(__file__).parent)
    if name not in methods:
        raise UserError(f"mask method {name!r}: wanted one of {', '.join(methods)} (files of models/masks)")
    return import_module(f"models.masks.{name}").outline


def probabilities(
    outline: MaskMethod,
    crops: Iterable[tuple[dict, Crop]],
    rng: Callable[[dict], np.random.Generator] | None,
    *,
    batch: int,
    **options,
) -> Iterator[tuple[dict, Crop, np.ndarray]]:
    """Each (row, crop) with its object's probabilities [side, side], in order. rng: of a row, None for a method that draws
    none; batch, options: as for a MaskMethod."""
    for part in batches(crops, batch):
        rngs = [rng(row) for row, _ in part] if rng else []
        for (row, crop), probability in zip(part, outline([crop for _, crop in part], rngs, batch=batch, **options)):
            yield row, crop, probability


def full_batch(*columns: Sequence[np.ndarray], batch: int, device: str) -> list[Tensor]:
    """Each column of equal arrays as one tensor [batch, ...] on the device, filled up with the column's first array.

    Batches of one size take the same kernels, so a crop's mask is the same bits whatever its neighbours.
    """
    filled = [[*column, *[column[0]] * (batch - len(column))] for column in columns]
    return [torch.from_numpy(np.stack(column)).to(device) for column in filled]
