"""Activation maps as the table gradcam holds them."""

import numpy as np


def activation_maps(row: dict) -> np.ndarray:
    """The maps of a row of `gradcam`, [G, height, width] float32; their maximum over G is Phi (OVIS, Eq. 4)."""
    return row["maps"].astype(np.float32).reshape(-1, row["height"], row["width"])
