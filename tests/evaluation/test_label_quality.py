"""Pointing, by hand."""

import numpy as np

from evaluation.label_quality import pointing_chance, points_at


def test_pointing_by_hand():
    truth = np.zeros((40, 40), bool)
    truth[0:11, 0:10] = True
    grid = np.zeros((4, 4))
    grid[1, 0] = 1
    assert points_at(grid, truth) and pointing_chance((4, 4), truth) == 2 / 16
    grid[3, 3] = 2
    assert not points_at(grid, truth)
