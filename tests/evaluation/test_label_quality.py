"""Measures of labels against closed forms and loops over pixels."""

import itertools

import numpy as np
import pytest

from evaluation.label_quality import (
    best_iou,
    box_recall,
    coverage,
    match_instances,
    pointing_chance,
    pointing_hit,
    threshold_map,
)
from structures.masks import encode


def square(x, y, side, size=(40, 40)):
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_the_best_of_several_true_masks_counts():
    mask, half, apart = square(0, 0, 10), square(0, 5, 10), square(20, 20, 10)
    truths = [encode(apart), encode(half)]
    assert best_iou(encode(mask), truths) == 50 / 150
    assert best_iou(encode(mask), [*truths, encode(mask)]) == 1
    assert best_iou(encode(mask), []) == 0
    assert best_iou(encode(np.zeros((40, 40), bool)), truths) == 0


def test_a_map_is_enlarged_by_nearest_neighbour():
    activation = np.random.default_rng(2).random((4, 5))
    mask = threshold_map(activation, (37, 52), 0.6)
    assert mask.shape == (37, 52) and mask.dtype == bool
    for y, x in itertools.product(range(37), range(52)):
        assert mask[y, x] == (activation[y * 4 // 37, x * 5 // 52] > 0.6)


def test_a_cell_at_the_threshold_is_not_active():
    assert threshold_map(np.array([[0.5, 0.75]]), (2, 4)).tolist() == [[False, False, True, True]] * 2


def test_coverage_is_the_share_of_the_truth():
    truth = square(0, 0, 10)
    assert coverage(square(0, 5, 30), truth) == 0.5
    assert coverage(np.ones((40, 40), bool), truth) == 1
    assert coverage(square(20, 20, 5), truth) == 0
    assert coverage(truth, np.zeros((40, 40), bool)) == 0


def test_pointing_by_hand():
    truth = np.zeros((40, 40), bool)
    truth[0:11, 0:10] = True
    activation = np.zeros((4, 4))
    activation[1, 0] = 1
    assert pointing_hit(activation, truth) and pointing_chance((4, 4), truth) == 2 / 16
    activation[3, 3] = 2
    assert not pointing_hit(activation, truth)


def test_pointing_chance_is_that_of_every_cell_tried():
    truth = np.random.default_rng(3).random((30, 45)) < 0.02
    hits = []
    for cell in range(6 * 7):
        activation = np.zeros(6 * 7)
        activation[cell] = 1
        hits.append(pointing_hit(activation.reshape(6, 7), truth))
    assert 0 < np.mean(hits) < 1 and pointing_chance((6, 7), truth) == pytest.approx(np.mean(hits))


def test_box_recall_is_that_of_pixels_counted():
    rng = np.random.default_rng(4)
    for _ in range(50):
        corners = rng.integers(0, 20, (3, 2))
        boxes = np.concatenate([corners, corners + rng.integers(1, 20, (3, 2))], 1).astype(np.float32)
        bbox = np.concatenate([rng.integers(0, 20, 2), rng.integers(1, 20, 2)])
        truth = {(x, y) for x in range(bbox[0], bbox[0] + bbox[2]) for y in range(bbox[1], bbox[1] + bbox[3])}
        overlaps = []
        for x0, y0, x1, y1 in boxes.astype(int).tolist():
            pixels = set(itertools.product(range(x0, x1), range(y0, y1)))
            overlaps.append(len(pixels & truth) / len(pixels | truth))
        for threshold in (0.1, 0.3, 0.5):
            assert box_recall(boxes, bbox, threshold) == (max(overlaps) >= threshold)


def test_no_boxes_recall_nothing():
    assert box_recall(np.zeros((0, 4)), [0, 0, 5, 5]) is False


def test_an_object_is_found_once_however_many_labels_it_has():
    def square(x: int) -> dict:
        mask = np.zeros((10, 40), np.uint8)
        mask[:, x : x + 10] = 1
        return encode(mask)

    truth = [square(0), square(20)]
    assert match_instances([square(0), square(1)], truth) == 1
    assert match_instances([square(0), square(21), square(30)], truth) == 2
    assert match_instances([square(10)], truth) == match_instances([], truth) == match_instances(truth, []) == 0
