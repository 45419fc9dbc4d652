"""What is measured of labels without any truth, on cases whose values can be reckoned by hand."""

import numpy as np
import pytest

from models.grounding.evidence import found_again, margin, stability
from structures.masks import encode

SIZE = (40, 40)  # four pixels a cell
OPTIONS = {"area_weight": 1.0, "linear": False}
HERE = np.array([0.0, 0, 20, 20], np.float32)
ELSEWHERE, BESIDE = [20.0, 20, 40, 40], [0.0, 0, 20, 24]  # BESIDE: IoU 0.83 with HERE


def activation(here: float, elsewhere: float) -> np.ndarray:
    cells = np.zeros((10, 10), np.float32)
    cells[:5, :5], cells[5:, 5:] = here, elsewhere
    return cells


@pytest.mark.parametrize(("elsewhere", "wanted"), [(0.0, 1.0), (0.5, 1 - (0.5 / 2) / (1 / 1.5)), (1.0, 0.0)])
def test_the_margin_compares_with_boxes_of_other_places_alone(elsewhere, wanted):
    """Overlaps of the two boxes, in areas of one: 1 / (1 + e), and e / (1 + 1)."""
    proposals = np.array([HERE, BESIDE, ELSEWHERE], np.float32)
    assert margin(activation(1.0, elsewhere), HERE, proposals, SIZE, **OPTIONS) == pytest.approx(wanted, abs=1e-6)


def test_the_margin_of_a_box_alone_and_of_one_that_misses_everything():
    assert margin(activation(1, 0), HERE, np.zeros((0, 4), np.float32), SIZE, **OPTIONS) == 1
    assert margin(activation(0, 1), HERE, np.array([ELSEWHERE], np.float32), SIZE, **OPTIONS) == -1
    assert margin(activation(0.1, 1), HERE, np.array([ELSEWHERE], np.float32), SIZE, **OPTIONS) == -1


def test_the_stability_is_the_least_share_of_all_maps_that_say_anything():
    maps = np.stack([activation(1, 0), activation(1, 1), activation(0, 0), activation(3, 1)])
    assert stability(maps, HERE, SIZE) == pytest.approx(0.5)
    assert stability(maps[2:3], HERE, SIZE) == 0


def test_what_a_detector_finds_again():
    def rows(first: int, last: int) -> dict:
        mask = np.zeros(SIZE, bool)
        mask[first:last] = True
        return encode(mask)

    assert found_again(rows(0, 10), []) == (0, 0)
    found, overlap = found_again(rows(0, 10), [(0.9, rows(0, 20)), (0.5, rows(0, 10))])
    assert found == pytest.approx(0.5) and overlap == pytest.approx(1)
    found, overlap = found_again(rows(0, 10), [(0.9, rows(0, 20)), (0.3, rows(0, 10))])
    assert found == pytest.approx(0.45) and overlap == pytest.approx(1)
