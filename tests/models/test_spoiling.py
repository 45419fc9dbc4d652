"""Spoiled masks are wrong in the way they say."""

import numpy as np

from models.spoiling import blown, shifted

MASK = np.zeros((40, 60), bool)
MASK[10:20, 20:40] = True
BOX = np.array([20, 10, 40, 20], np.float32)


def test_a_shifted_mask_leaves_its_box_by_half():
    moved, box = shifted(MASK, BOX, np.random.default_rng(0))
    assert (box == BOX).all() and 0 < (moved & MASK).sum() < MASK.sum() and moved.sum() == MASK.sum()


def test_a_blown_mask_fills_a_larger_box():
    full, box = blown(MASK, BOX, np.random.default_rng(0))
    assert box.tolist() == [15, 7.5, 45, 22.5] and full.sum() > 2 * MASK.sum() and full[MASK].all()
