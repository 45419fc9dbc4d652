"""Run-length masks: there and back, and their overlap against pixels counted."""

import numpy as np
import pytest

from structures.masks import MAX_POLYGONS, decode, encode, iou, read_segmentation


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    blobs = [np.zeros((17, 23), bool) for _ in range(count)]
    for mask in blobs:
        y, x, height, width = rng.integers(1, 15, 4)
        mask[y : y + height, x : x + width] = rng.random(mask[y : y + height, x : x + width].shape) < 0.8
    return [*blobs, np.zeros((17, 23), bool), np.ones((17, 23), bool)]


def test_a_mask_comes_back_as_it_was():
    for mask in random_masks(10):
        for dtype in (bool, np.uint8):
            segmentation = encode(mask.astype(dtype))
            assert segmentation["size"] == [17, 23] and isinstance(segmentation["counts"], str)
            np.testing.assert_array_equal(decode(segmentation), mask)


def test_iou_is_exactly_that_of_the_pixels():
    masks = random_masks(40)
    for a in masks:
        for b in masks:
            union = np.count_nonzero(a | b)
            assert iou(encode(a), encode(b)) == (np.count_nonzero(a & b) / union if union else 0.0)


def test_masks_of_two_sizes_do_not_compare():
    with pytest.raises(ValueError, match=r"\[4, 5\] and \[5, 4\]"):
        iou(encode(np.ones((4, 5), bool)), encode(np.ones((5, 4), bool)))


def runs_of(mask) -> list[int]:
    """The runs of a mask, column by column, off first: counted pixel by pixel."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def text_of(runs: list[int]) -> str:
    """Compressed counts as COCO's format says: 5 bits a character from 0 (48) on, lowest first, 32 where more follow;
    from the third number on the difference to the one before the last."""
    text = ""
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        while True:
            bits, number = number & 31, number >> 5
            more = not (number == 0 and not bits & 16) and not (number == -1 and bits & 16)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def pixels_of(runs: list[int], height: int, width: int) -> np.ndarray:
    mask, place, value = np.zeros(height * width, bool), 0, False
    for run in runs:
        mask[place : place + run] = value
        place, value = place + run, not value
    return mask.reshape(width, height).T


def test_both_kinds_of_runs_are_read_as_an_independent_reader_reads_them():
    for mask in random_masks(40):
        runs = runs_of(mask)
        assert (pixels_of(runs, 17, 23) == mask).all() and text_of(runs) == encode(mask)["counts"]
        for counts in (runs, text_of(runs)):
            assert read_segmentation({"size": [17, 23], "counts": counts}, 17, 23) == encode(mask)


def test_runs_of_no_length_change_nothing():
    """pycocotools' own box of such a mask is wrong: it counts the empty runs."""
    mask = np.zeros((6, 5), bool)
    mask[2:4, 3] = True
    runs = [8, 0, 12, 2, 0, 0, 8]
    assert (pixels_of(runs, 6, 5) == mask).all()
    for counts in (runs, text_of(runs), [*runs, 0], [*runs, 0, 0]):
        assert read_segmentation({"size": [6, 5], "counts": counts}, 6, 5) == encode(mask)
    full = {"size": [6, 5], "counts": [0, 10, 0, 20]}
    assert read_segmentation(full, 6, 5) == encode(np.ones((6, 5), bool))


@pytest.mark.parametrize(
    "counts",
    [[29], [31], [-1, 31], [10, -5, 25], [30.0], ["30"], [True, 29], [], [2**64 + 30], [30, 2**40], [[30]], [None],
     "", "o", "`", "N1", "\u00e9", "\ud800", " ", text_of([29]), text_of([31]), text_of([10, -5, 25]), text_of([30]) + "o",
     text_of([2**45]), "ooooooooo0", text_of([30]) + "\0", None, 30, b"U0"],
)  # fmt: skip
def test_counts_that_are_no_mask_of_the_picture_are_refused(counts):
    with pytest.raises(ValueError):
        read_segmentation({"size": [6, 5], "counts": counts}, 6, 5)


@pytest.mark.parametrize("size", [[5, 6], [6.0, 5.0], ["6", "5"], [6], [6, 5, 1], [True, 30], None, 30, {}])
def test_sizes_that_are_not_the_picture_s_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        read_segmentation({"size": size, "counts": [30]}, 6, 5)


SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]


@pytest.mark.parametrize(
    "polygons",
    [[[1e9, 1, 4, 1, 4, 4]], [[1, 1, 4, float("nan"), 4, 4]], [[1, 1, 4, float("inf"), 4, 4]], [SQUARE[:7]], [SQUARE, None],
     [SQUARE, []], [["1", "1", "4", "1", "4", "4"]], [[True] * 6], [[SQUARE]], [[10**400] * 6], SQUARE, [], [[1, 2]],
     [{"x": 1}], [[{}] * 6], [SQUARE] * (MAX_POLYGONS + 1), [[0, 0, 5, 6] * 90_000]],
)  # fmt: skip
def test_polygons_that_are_no_mask_of_the_picture_are_refused(polygons):
    with pytest.raises(ValueError):
        read_segmentation(polygons, 6, 5)


def test_polygons_are_filled_and_points_and_lines_hold_no_pixel():
    mask = np.zeros((12, 10), bool)
    mask[2:8, 3:9] = True
    square = [3, 2, 9, 2, 9, 8, 3, 8]
    assert read_segmentation([square], 12, 10) == encode(mask)
    assert read_segmentation([square, [1, 1], [1, 1, 9, 9]], 12, 10) == encode(mask)
    many = [[3, 2, 9, 2, 9, 8, 3, 8]] * 9000
    assert read_segmentation(many, 12, 10) == encode(mask), "short, but many"
    whole = [[-5, -5, 15, -5, 15, 20, -5, 20]]
    assert read_segmentation(whole, 12, 10) == encode(np.ones((12, 10), bool)), "a little outside"
