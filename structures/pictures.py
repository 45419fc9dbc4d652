"""Pictures as tensors: bytes on their way to the device of a network, a quarter of what travels otherwise; float32 there."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import convert_image_dtype


def uint8_tensor(picture: np.ndarray) -> Tensor:
    """A picture [h, w, 3] uint8 as a tensor [3, h, w] uint8."""
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def float_on(device: str, picture: Tensor) -> Tensor:
    """A picture [3, h, w], uint8 (or float32 in 0..1), as float32 in 0..1 on a device, as networks take it."""
    return convert_image_dtype(picture.to(device, non_blocking=True), torch.float32)
