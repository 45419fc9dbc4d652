"""Crop networks: many at once as alone, and what they fill."""

import numpy as np
import torch

from models.masks.network import frame_values, ranked_points, segment_crops, weight_count
from structures.masks import encode, iou


def crops(count, side=16):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(count, 3, side, side, generator=generator) * 0.2
    pictures[:, 0, 4:12, 4:12] += 0.7
    activation = torch.zeros(count, side, side)
    activation[:, 6:10, 6:10] = 1 + torch.rand(count, 4, 4, generator=generator)
    normal = torch.randn(count, weight_count(8), generator=generator)
    uniform = torch.rand(count, 2, 40, generator=generator)
    return pictures, activation, normal, uniform


OPTIONS = {"channels": 8, "steps": 60, "lr": 0.05, "foreground": 0.06, "background": "frame", "background_share": 0.3}


def test_crops_train_together_as_they_would_alone():
    together = segment_crops(*crops(6), **OPTIONS)
    for i in range(6):
        alone = segment_crops(*(part[i : i + 1] for part in crops(6)), **OPTIONS)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)
    pairs = torch.cat([segment_crops(*(part[i : i + 2] for part in crops(6)), **OPTIONS) for i in (0, 2, 4)])
    torch.testing.assert_close(pairs, together, atol=1e-5, rtol=0)


def test_a_crop_network_fills_the_object_from_its_middle():
    masks = segment_crops(*crops(4), **OPTIONS).numpy() > 0.5
    truth = np.zeros((16, 16), bool)
    truth[4:12, 4:12] = True
    assert np.mean([iou(encode(mask), encode(truth)) for mask in masks]) > 0.75  # the activation alone: 0.25


def test_points_come_from_the_asked_share():
    values = torch.arange(100.0).view(1, 100)
    points = ranked_points(values, 0.1, 50, torch.rand(1, 50))
    assert points.min() >= 90
    frame = frame_values(5, "cpu").view(5, 5)
    assert frame[0].tolist() == [0, 0, 0, 0, 0] and frame[2, 2] == -2
