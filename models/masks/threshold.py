"""The mask is what is activated above a threshold inside the box (Mask-free OVIS, Table 3: GradCAM alone)."""

import numpy as np

from models.grounding.crops import Crop


def outline(
    crops: list[Crop], rngs: list[np.random.Generator], *, batch: int, device: str, threshold: float = 0.5
) -> np.ndarray:
    """See models.masks.interface. threshold: in 0..1, above 0.

    The activation is scaled so that the threshold becomes one half, where masks are cut; nothing is random here.
    """
    return np.stack([crop.activation * crop.inside for crop in crops]) * np.float32(0.5 / threshold)
