"""RoIAlign as products of matrices, against torchvision's kernel."""

import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align

from models.detector.roi_pooling import SmallMapRoIAlign, know_strides, pool


def _boxes(count: int, size: float) -> torch.Tensor:
    corners = torch.rand(count, 2, 2) * size * 1.3 - 0.15 * size
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def test_values_and_gradients_are_those_of_torchvision():
    torch.manual_seed(0)
    for samples in (1, 2):
        features = torch.randn(1, 5, 12, 17, requires_grad=True)
        boxes = torch.cat([_boxes(60, 15), torch.tensor([[3.0, 3, 3.2, 3.1], [-5, -5, 30, 30], [16, 11, 17, 12]])])
        expected = roi_align(features, [boxes], 7, 1.0, samples)
        pooled = pool(features[0], boxes, 7, samples)
        torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(expected)
        (first,) = torch.autograd.grad((expected * weight).sum(), features)
        (second,) = torch.autograd.grad((pooled * weight).sum(), features)
        torch.testing.assert_close(second, first, atol=1e-4, rtol=1e-4)


def test_levels_and_images_are_put_together_as_torchvision_does():
    torch.manual_seed(1)
    maps = {"0": torch.randn(2, 3, 48, 40), "1": torch.randn(2, 3, 24, 20), "2": torch.randn(2, 3, 12, 10)}
    shapes = [(192, 160), (180, 160)]
    for boxes in ([_boxes(30, 150), _boxes(20, 80)], [_boxes(4, 150), torch.zeros(0, 4)], [torch.zeros(0, 4)] * 2):
        expected = MultiScaleRoIAlign(["0", "1", "2"], 14, 2)(maps, boxes, shapes)
        pooled = know_strides(SmallMapRoIAlign(["0", "1", "2"], 14, 2), (4, 8, 16))(maps, boxes, shapes)
        torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
