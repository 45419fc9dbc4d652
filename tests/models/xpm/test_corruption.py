"""Corrupted masks are wrong in the way that they are named for."""

import numpy as np

from models.xpm.corruption import blown_up, shifted

MASK = np.zeros((40, 60), bool)
MASK[10:20, 20:40] = True
BOX = np.array([20, 10, 40, 20], np.float32)


def test_a_shifted_mask_and_its_box_move_by_half():
    moved, box = shifted(MASK, BOX, np.random.default_rng(0))
    assert 0 < (moved & MASK).sum() < MASK.sum() and moved.sum() == MASK.sum()
    ys, xs = np.nonzero(moved)
    assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] != BOX.tolist()


def test_a_box_shifted_out_of_its_picture_is_cut_at_the_border():
    corner = np.zeros((40, 60), bool)
    corner[:10, :20] = True
    for seed in range(8):
        _, box = shifted(corner, np.array([0, 0, 20, 10], np.float32), np.random.default_rng(seed))
        assert box.min() >= 0 and box[0] < box[2] and box[1] < box[3]


def test_a_blown_up_mask_fills_a_larger_box():
    full, box = blown_up(MASK, BOX, np.random.default_rng(0))
    assert box.tolist() == [15, 7.5, 45, 22.5] and full.sum() > 2 * MASK.sum() and full[MASK].all()
