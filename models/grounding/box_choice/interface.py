"""What this project asks of a box-choice method (Mask-free OVIS, section 3.2), and how one is found by its name.

A method lives in one file, models/grounding/box_choice/NAME.py, and has one function `choose`, a BoxChoice; its
parameters beside those of a BoxChoice are the method's own.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from structures.errors import UserError
from structures.modules import modules_with


@dataclass(frozen=True)
class Choice:
    """A chosen box: the index among the proposals, the method's score, and the share of the whole activation inside."""

    index: int
    score: float
    share: float


class BoxChoice(Protocol):
    """Chooses among the proposals of an image the boxes of one category."""

    def __call__(
        self,
        activations: np.ndarray,
        boxes: np.ndarray,
        *,
        heights: np.ndarray,
        widths: np.ndarray,
        instances: np.ndarray,
        interpolation: str,
        **options,
    ) -> list[list[Choice]]:
        """For each of P pairs (image, category) the choices, best first; none where nothing can be chosen.

        activations: [P, h, w], at least 0; boxes: [P, N, 4] float32 xyxy pixels, those without area are never chosen
        (so fewer than N are filled up with zeros); heights, widths: [P] of the pictures, in pixels; instances: [P], how
        many boxes at most; interpolation: how a map is enlarged to its picture, "nearest" or "linear"; options: the method's own parameters, keyword-only, by name.
        """


def load_method(name: str) -> BoxChoice:
    """The function `choose` of models/grounding/box_choice/NAME.py. Raises UserError listing the methods where there is
    none."""
    methods = modules_with("choose", Path(__file__).parent)
    if name not in methods:
        raise UserError(
            f"box-choice method {name!r}: wanted one of {', '.join(methods)} (files of models/grounding/box_choice)"
        )
    return import_module(f"models.grounding.box_choice.{name}").choose
