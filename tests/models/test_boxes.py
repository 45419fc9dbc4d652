"""Eq. 6 against sums over pixels."""

import numpy as np
import pytest

from models.boxes import activation_sums, covered_share, select_boxes


@pytest.mark.parametrize("shape", [(4, 4), (12, 12), (5, 7)])
def test_activation_sums_equal_a_sum_over_pixels(shape):
    rng = np.random.default_rng(1)
    height, width = shape[0] * 6, shape[1] * 9
    grid = rng.random(shape)
    pixels = np.kron(grid, np.ones((6, 9)))
    corners = np.sort(rng.integers(0, [width, height], (40, 2, 2)), axis=1)
    boxes = corners.reshape(40, 4)
    wanted = [pixels[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in boxes]
    np.testing.assert_allclose(activation_sums(grid, boxes, height, width), wanted, atol=1e-9)


def test_the_box_of_equation_6_beats_every_other():
    rng = np.random.default_rng(2)
    grid = rng.random((8, 8)) ** 4
    boxes = np.array([(x, y, x + w, y + w) for x in (0, 16, 40) for y in (0, 24, 48) for w in (16, 32)], np.float32)
    pixels = np.kron(grid, np.ones((10, 10)))
    scores = [
        pixels[int(y0) : int(y1), int(x0) : int(x1)].sum() / np.sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes
    ]
    [(best, score, share)] = select_boxes(grid, boxes, height=80, width=80)
    assert best == int(np.argmax(scores)) and score == pytest.approx(max(scores), rel=1e-6)
    assert 0 < share < 1


def test_a_second_instance_takes_the_activation_that_is_left():
    grid = np.zeros((8, 8))
    grid[1:3, 1:3], grid[5:7, 5:7] = 1.0, 0.8
    boxes = np.array([[10, 10, 30, 30], [50, 50, 70, 70], [0, 0, 80, 80], [11, 11, 31, 31]], np.float32)
    chosen = select_boxes(grid, boxes, height=80, width=80, instances=3, min_share=0.2)
    assert [index for index, _, _ in chosen] == [0, 1]
    assert sum(share for _, _, share in chosen) == pytest.approx(1)


def test_no_activation_no_box():
    assert select_boxes(np.zeros((4, 4)), np.array([[0, 0, 9, 9]], np.float32), height=9, width=9) == []


def test_covered_share_counts_parts_of_cells():
    share = covered_share((2, 2), np.array([5, 0, 15, 10]), 20, 20)
    assert share.tolist() == [[0.5, 0.5], [0.0, 0.0]]
