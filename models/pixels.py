"""Pictures to the tensors that networks take."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

COLOUR_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision's weights expect
COLOUR_STD = (0.229, 0.224, 0.225)


def square(image: np.ndarray, size: int) -> Tensor:
    """A height x width x 3 uint8 picture as [3, size, size] uint8; bicubic, its aspect given up (as ALBEF does)."""
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def normalise_colours(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[..., 3, h, w] uint8 to float32 with the given mean and deviation, both for values 0..1."""
    shape = (3, 1, 1)
    mean_, std_ = (
        torch.tensor(mean, device=images.device).view(shape),
        torch.tensor(std, device=images.device).view(shape),
    )
    return (images.float() / 255 - mean_) / std_
