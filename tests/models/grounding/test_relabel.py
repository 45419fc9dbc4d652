"""Labels of a later round: the evidence, and which noun gets which mask."""

import numpy as np
import pytest

from models.grounding.box_choice.soft_overlap import soft_overlap
from models.grounding.relabel import choose_labels, evidence
from structures.masks import encode


def mask(x0: int, y0: int, x1: int, y1: int) -> dict:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[y0:y1, x0:x1] = 1
    return encode(pixels)


LEFT, RIGHT, NEAR_LEFT = mask(0, 0, 10, 10), mask(15, 5, 25, 15), mask(1, 0, 11, 10)


def chosen(evidences, masks, instances, **options):
    options = {"min_share": 0.5, "max_overlap": 0.5} | options
    labels, refused = choose_labels([np.array(values) for values in evidences], masks, instances, **options)
    return [label[:3] for label in labels], refused


def test_the_soft_overlap_of_a_full_mask_is_the_iou():
    activation = np.zeros((20, 30))
    activation[0:10, 0:10] = 1
    inside = np.array([activation[0:10, 5:15].sum(), activation[0:10, 0:10].sum(), 0.0])
    np.testing.assert_allclose(soft_overlap(inside, np.array([100.0, 100, 40]), 100.0, area_weight=1.0), [1 / 3, 1, 0])


def test_the_weight_goes_from_the_detector_alone_to_activation_alone():
    scores, overlaps = np.array([0.9, 0.4]), np.array([0.1, 0.8])
    np.testing.assert_allclose(evidence(scores, overlaps, activation_weight=0.0), scores)
    np.testing.assert_allclose(evidence(scores, overlaps, activation_weight=1.0), overlaps)
    np.testing.assert_allclose(evidence(scores, overlaps, activation_weight=0.5), np.sqrt(scores * overlaps))


def test_every_noun_gets_its_best_mask():
    assert chosen([[0.3, 0.9], [0.8]], [[LEFT, RIGHT], [LEFT]], [1, 1]) == ([(0, 1, 0), (1, 0, 0)], {})


def test_of_two_nouns_that_want_one_mask_the_stronger_has_it_and_the_other_its_next_best():
    assert chosen([[0.9], [0.8, 0.2]], [[LEFT], [NEAR_LEFT, RIGHT]], [1, 1]) == ([(0, 0, 0), (1, 1, 0)], {})


def test_a_noun_whose_masks_are_all_taken_says_by_whom():
    assert chosen([[0.4], [0.8]], [[LEFT], [NEAR_LEFT]], [1, 1]) == ([(1, 0, 0)], {0: 1})
    assert chosen([[0.4], [0.8]], [[LEFT], [NEAR_LEFT]], [1, 1], max_overlap=0.9)[0] == [(0, 0, 0), (1, 0, 0)]


@pytest.mark.parametrize(("share", "found"), [(0.5, 2), (0.7, 1)])
def test_further_instances_of_a_plural_must_have_a_share_of_the_first_and_a_place_of_their_own(share, found):
    labels, refused = chosen([[0.9, 0.8, 0.55]], [[LEFT, NEAR_LEFT, RIGHT]], [3], min_share=share)
    assert labels == [(0, 0, 0), (0, 2, 1)][:found] and not refused


def test_no_candidate_no_label():
    assert chosen([[], [0.5]], [[], [LEFT]], [1, 1]) == ([(1, 0, 0)], {})
