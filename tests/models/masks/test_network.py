"""Crop networks: many at once as alone, and what they fill."""

import numpy as np
import torch
import torch.nn.functional as F

from models.masks.network import frame_values, initial_weights, ranked_points, segment_crops, weight_count
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


def test_a_step_is_taken_on_the_sum_of_both_cross_entropies():
    """Eq. 7 of one crop, written out with torch's modules and optimizer."""
    pictures, activation, normal, uniform = crops(1)
    options = OPTIONS | {"background": "least", "steps": 2, "lr": 0.25}
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Conv2d(8, 8, 3, padding=1, bias=False)]
    layers += [torch.nn.Conv2d(8, 1, 1, bias=False)]
    for layer, weight in zip(layers, initial_weights(normal, 8)):
        layer.weight.data = weight.clone()
    norm = torch.nn.BatchNorm2d(8, affine=False, track_running_stats=False)
    network = torch.nn.Sequential(layers[0], norm, torch.nn.ReLU(), layers[1], norm, torch.nn.ReLU(), layers[2])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.25, momentum=0.9)
    crop = F.batch_norm(pictures, None, None, training=True)
    ranks = activation.flatten().argsort(descending=True, stable=True)
    object_points = ranks[: round(0.06 * 256)][(uniform[0, 0] * round(0.06 * 256)).long()]
    dark = (activation.flatten() == 0).nonzero().flatten()  # more than 0.3 of the crop: all that is least activated
    ground_points = dark[(uniform[0, 1] * len(dark)).long()]
    for _ in range(2):
        logits = network(crop).flatten()
        of_object = F.binary_cross_entropy_with_logits(logits[object_points], torch.ones(40))
        of_ground = F.binary_cross_entropy_with_logits(logits[ground_points], torch.zeros(40))
        optimizer.zero_grad()
        (of_object + of_ground).backward()
        optimizer.step()
    expected = network(crop).sigmoid()[0]
    torch.testing.assert_close(segment_crops(pictures, activation, normal, uniform, **options), expected)


def test_pixels_of_equal_value_are_drawn_from_together():
    binary = torch.zeros(2, 100)
    binary[0, 10:70] = 1  # more than the share: all of them, not the uppermost
    binary[1, 90:95] = 1  # less than the share: these alone, nothing that is not activated
    points = ranked_points(binary, 0.2, 2000, torch.rand(2, 2000, generator=torch.Generator().manual_seed(0)))
    assert set(points[0].tolist()) == set(range(10, 70)) and set(points[1].tolist()) == set(range(90, 95))
    ground = ranked_points(-binary, 0.2, 2000, torch.rand(2, 2000, generator=torch.Generator().manual_seed(1)))
    assert set(ground[0].tolist()) == {*range(10), *range(70, 100)} and 92 not in ground[1]
