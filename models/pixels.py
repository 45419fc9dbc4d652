"""Pictures to the tensors that networks take: square, with normalised colours."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

COLOUR_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision's weights expect
COLOUR_STD = (0.229, 0.224, 0.225)


def square(image: np.ndarray, size: int) -> Tensor:
    """A height x width x 3 uint8 picture as [3, size, size] uint8; bicubic, the aspect given up (as ALBEF does)."""
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def normalise_colours(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[..., 3, h, w] uint8 to float32 with the given mean and deviation, both for values 0..1."""
    mean_tensor = torch.tensor(mean, device=images.device).view(3, 1, 1)
    std_tensor = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images.float() / 255 - mean_tensor) / std_tensor
