"""Pictures as tensors."""

import numpy as np
import torch
from torchvision.transforms.functional import to_tensor

from structures.pictures import float_on, uint8_tensor

PICTURE = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def test_bytes_become_what_torchvision_makes_of_a_picture_to_the_last_bit():
    tensor = uint8_tensor(PICTURE)
    assert tensor.dtype == torch.uint8 and tensor.shape == (3, 7, 9) and tensor.is_contiguous()
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    for picture in (PICTURE, every):
        assert torch.equal(float_on("cpu", uint8_tensor(picture)), to_tensor(picture))


def test_float32_stays_as_it_is():
    picture = torch.rand(3, 4, 5)
    assert torch.equal(float_on("cpu", picture), picture)
