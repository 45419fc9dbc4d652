"""Eq. 6 against sums over pixels."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from models.grounding.box_choice import soft_overlap
from models.grounding.box_choice.activation import activation_sums, choose, interval_weights
from models.grounding.box_choice.interface import load_method
from structures.errors import UserError


def _random_boxes(rng, count, height, width):
    corners = np.sort(rng.integers(0, [width, height], (count, 2, 2)), axis=1)
    return corners.reshape(1, count, 4).astype(np.float32)


def _size(height, width, pairs=1):
    return {"heights": np.full(pairs, height), "widths": np.full(pairs, width)}


@pytest.mark.parametrize("shape", [(4, 4), (12, 12), (5, 7)])
def test_activation_sums_equal_a_sum_over_pixels(shape):
    rng = np.random.default_rng(1)
    height, width = shape[0] * 6, shape[1] * 9
    grid = rng.random(shape)
    pixels = np.kron(grid, np.ones((6, 9)))
    boxes = _random_boxes(rng, 40, height, width)
    expected = [[pixels[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in boxes[0].astype(int)]]
    sums = activation_sums(grid[None], boxes, np.array([height]), np.array([width]))
    np.testing.assert_allclose(sums, expected, atol=1e-9)


def test_linear_sums_equal_a_sum_over_an_enlarged_map():
    rng = np.random.default_rng(1)
    grid = rng.random((5, 7), np.float32)
    pixels = cv2.resize(grid, (7 * 32, 5 * 32), interpolation=cv2.INTER_LINEAR)
    boxes = _random_boxes(rng, 40, 5 * 32, 7 * 32)
    expected = [[pixels[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in boxes[0].astype(int)]]
    sums = activation_sums(grid[None], boxes, np.array([160]), np.array([224]), linear=True)
    np.testing.assert_allclose(sums, expected, rtol=2e-3, atol=0.5)


@pytest.mark.parametrize("linear", [False, True])
def test_weights_of_an_interval_sum_to_its_length(linear):
    start, end = np.array([0.0, 0.2, 3.7, 2.0]), np.array([6.0, 0.3, 6.0, 2.0])
    weights = interval_weights(start, end, 6, linear=linear)
    np.testing.assert_allclose(weights.sum(-1), end - start, atol=1e-12)
    assert (weights >= 0).all()


def test_the_box_of_equation_6_beats_every_other_whatever_the_batch():
    rng = np.random.default_rng(2)
    boxes = np.array([(x, y, x + w, y + w) for x in (0, 16, 40) for y in (0, 24, 48) for w in (16, 32)], np.float32)
    grids = rng.random((150, 8, 8)) ** 4
    together = choose(grids, np.stack([boxes] * 150), **_size(80, 80, 150))
    for grid, choices in zip(grids, together):
        pixels = np.kron(grid, np.ones((10, 10)))
        scores = [
            pixels[int(y0) : int(y1), int(x0) : int(x1)].sum() / np.sqrt((x1 - x0) * (y1 - y0))
            for x0, y0, x1, y1 in boxes
        ]
        [choice] = choices
        assert choice.index == int(np.argmax(scores)) and choice.score == pytest.approx(max(scores), rel=1e-6)
        assert 0 < choice.share < 1
        assert choose(grid[None], boxes[None], **_size(80, 80)) == [choices]


def test_a_second_instance_takes_the_activation_that_is_left():
    grid = np.zeros((1, 8, 8))
    grid[0, 1:3, 1:3], grid[0, 5:7, 5:7] = 1.0, 0.8
    boxes = np.array([[[10, 10, 30, 30], [50, 50, 70, 70], [0, 0, 80, 80], [11, 11, 31, 31]]], np.float32)
    [choices] = choose(grid, boxes, instances=3, min_share=0.2, **_size(80, 80))
    assert [choice.index for choice in choices] == [0, 1]
    assert sum(choice.share for choice in choices) == pytest.approx(1)
    [first] = choose(grid, boxes, instances=1, **_size(80, 80))
    assert first == choices[:1]


def test_no_activation_or_no_area_no_box():
    box = np.array([[[0, 0, 9, 9]]], np.float32)
    assert choose(np.zeros((1, 4, 4)), box, **_size(9, 9)) == [[]]
    assert choose(np.ones((1, 4, 4)), np.zeros((1, 3, 4), np.float32), **_size(9, 9)) == [[]]


def test_boxes_that_fill_up_a_row_are_never_chosen():
    boxes = np.array([[[0, 0, 0, 0], [2, 2, 4, 4], [5, 5, 5, 9]]], np.float32)
    [[choice]] = choose(np.eye(4)[None], boxes, **_size(9, 9))
    assert choice.index == 1


def test_linear_interpolation_can_choose_another_box():
    grid = np.array([[[0, 1, 0, 0], [0, 1, 0, 0]]], np.float64)
    boxes = np.array([[[10, 0, 20, 20], [8, 0, 20, 20]]], np.float32)
    nearest, linear = (
        choose(grid, boxes, interpolation=interpolation, **_size(20, 40)) for interpolation in ("nearest", "linear")
    )
    assert nearest[0][0].score == pytest.approx(200 / np.sqrt(200))
    assert linear[0][0].score < nearest[0][0].score
    with pytest.raises(ValueError, match="nearest or linear"):
        choose(grid, boxes, interpolation="cubic", **_size(20, 40))


def test_a_method_is_found_by_its_name():
    assert load_method("activation") is choose
    for name in ("interface", "nothing", "../box_choice/activation"):
        with pytest.raises(UserError, match=r"wanted one of (\w+, )*activation"):
            load_method(name)


def test_the_soft_overlap_of_full_activation_is_the_iou_of_boxes():
    """Where the activation is 1 on a rectangle and 0 elsewhere, and a pixel counts 1."""
    rng = np.random.default_rng(4)
    grid = np.zeros((1, 8, 8))
    grid[0, 2:6, 3:7] = 1
    boxes = _random_boxes(rng, 200, 80, 80)
    [[choice]] = soft_overlap.choose(grid, boxes, area_weight=1.0, **_size(80, 80))
    iou = box_iou(torch.tensor(boxes[0]), torch.tensor([[30.0, 20, 70, 60]]))[:, 0]
    assert choice.index == int(iou.argmax()) and choice.score == pytest.approx(float(iou.max()), rel=1e-6)


def test_the_soft_overlap_takes_the_whole_where_equation_6_takes_a_part():
    grid = np.zeros((1, 8, 8))
    grid[0, 1:7, 1:7] = 0.4
    grid[0, 2:4, 2:4] = 1.0
    boxes = np.array([[[20, 20, 40, 40], [10, 10, 70, 70], [0, 0, 80, 80]]], np.float32)
    [[part]] = choose(grid**3, boxes, **_size(80, 80))
    [[whole]] = soft_overlap.choose(grid**3, boxes, area_weight=0.05, **_size(80, 80))
    assert (part.index, whole.index) == (0, 1)


def test_further_boxes_by_the_soft_overlap_are_of_what_is_left():
    grid = np.zeros((1, 8, 8))
    grid[0, 1:3, 1:3], grid[0, 5:7, 5:7] = 1.0, 0.8
    boxes = np.array([[[10, 10, 30, 30], [50, 50, 70, 70], [0, 0, 80, 80], [11, 11, 31, 31]]], np.float32)
    [choices] = soft_overlap.choose(grid, boxes, instances=3, min_share=0.2, **_size(80, 80))
    assert [choice.index for choice in choices] == [0, 1]
    assert soft_overlap.choose(np.zeros((1, 4, 4)), boxes[:, :1], **_size(9, 9)) == [[]]
