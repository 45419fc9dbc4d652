"""Labels of a later round: the evidence, and which noun gets which region."""

import numpy as np
import pytest

from models.grounding.relabel import choose_labels, evidence

LEFT, RIGHT, NEAR_LEFT = [0, 0, 10, 10], [15, 5, 25, 15], [1, 0, 11, 10]


def chosen(evidences, boxes, instances, **options):
    options = {"min_share": 0.5, "max_overlap": 0.7, "max_overlap_of_noun": 0.3} | options
    labels, refused = choose_labels(np.array(evidences), np.array(boxes, np.float32), instances, **options)
    return [label[:3] for label in labels], refused


def test_the_weight_goes_from_the_detector_alone_to_activation_alone():
    probabilities, overlaps = np.array([0.9, 0.4]), np.array([0.1, 0.8])
    np.testing.assert_allclose(evidence(probabilities, overlaps, activation_weight=0.0), probabilities)
    np.testing.assert_allclose(evidence(probabilities, overlaps, activation_weight=1.0), overlaps)
    np.testing.assert_allclose(
        evidence(probabilities, overlaps, activation_weight=0.5), np.sqrt(probabilities * overlaps)
    )


def test_every_noun_gets_its_best_region():
    assert chosen([[0.3, 0.9], [0.8, 0.1]], [LEFT, RIGHT], [1, 1]) == ([(0, 1, 0), (1, 0, 0)], {})


def test_of_two_nouns_that_want_one_region_the_stronger_has_it_and_the_other_its_next_best():
    assert chosen([[0.9, 0, 0], [0, 0.8, 0.2]], [LEFT, NEAR_LEFT, RIGHT], [1, 1]) == ([(0, 0, 0), (1, 2, 0)], {})


def test_a_noun_whose_regions_are_all_taken_says_by_whom():
    assert chosen([[0.4, 0], [0, 0.8]], [LEFT, NEAR_LEFT], [1, 1]) == ([(1, 1, 0)], {0: 1})
    assert chosen([[0.4, 0], [0, 0.8]], [LEFT, NEAR_LEFT], [1, 1], max_overlap=0.9)[0] == [(0, 0, 0), (1, 1, 0)]


@pytest.mark.parametrize(("share", "found"), [(0.5, 2), (0.7, 1)])
def test_further_instances_of_a_plural_must_have_a_share_of_the_first_and_a_place_of_their_own(share, found):
    labels, refused = chosen([[0.9, 0.8, 0.55]], [LEFT, NEAR_LEFT, RIGHT], [3], min_share=share)
    assert labels == [(0, 0, 0), (0, 2, 1)][:found] and not refused


def test_a_noun_that_has_a_label_is_not_refused_a_further_one():
    labels, refused = chosen([[0.9, 0.85, 0], [0, 0.88, 0]], [LEFT, RIGHT, NEAR_LEFT], [2, 1])
    assert labels == [(0, 0, 0), (1, 1, 0)] and not refused


def test_a_choice_is_the_best_of_all_by_brute_force():
    """One label a noun: the strongest pair of a noun and a region first, as sorting all pairs gives it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(0, 60, (12, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(8, 40, (12, 2))], 1).astype(np.float32)
        evidences = rng.uniform(0, 1, (4, 12))
        taken, wanted = [], {}
        for noun, i in sorted(np.ndindex(4, 12), key=lambda at: -evidences[at]):
            x0, y0 = np.maximum(boxes[i, :2], boxes[taken, :2]).T if taken else ((), ())
            x1, y1 = np.minimum(boxes[i, 2:], boxes[taken, 2:]).T if taken else ((), ())
            inside = np.clip(np.subtract(x1, x0), 0, None) * np.clip(np.subtract(y1, y0), 0, None)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            if noun not in wanted and not (inside / (areas[i] + areas[taken] - inside) > 0.7).any():
                wanted[noun] = int(i)
                taken.append(int(i))
        labels, _ = choose_labels(evidences, boxes, [1] * 4, min_share=0.5, max_overlap=0.7, max_overlap_of_noun=0.3)
        assert {label.noun: label.box for label in labels} == wanted


def test_no_region_no_label():
    assert chosen([[0.0], [0.5]], [LEFT], [1, 1]) == ([(1, 0, 0)], {})
    assert chosen(np.zeros((2, 0)), np.zeros((0, 4)), [1, 1]) == ([], {})
