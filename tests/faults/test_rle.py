"""Run-length masks and polygons with changed numbers: the mask that an independent reader sees, or refused."""

import numpy as np
import pytest

from structures.masks import decode, encode, read_segmentation
from tests.faults.mutations import hostile, mutated_bytes, mutated_tree
from tests.structures.test_masks import pixels_of, runs_of

pytestmark = pytest.mark.faults


def numbers_of(text: str) -> list[int]:
    """The runs of compressed counts, read character by character. Raises ValueError."""
    runs: list[int] = []
    number = place = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(letter)
        number |= (bits & 31) << place
        place += 5
        if bits < 32:
            if bits & 16:
                number -= 1 << place
            runs.append(number + runs[-2] if len(runs) > 2 else number)
            number = place = 0
    if place:
        raise ValueError("ends within a number")
    return runs


def seen(segmentation, height: int, width: int) -> np.ndarray | None:
    """The mask that runs are, or None where they are none of the picture."""
    try:
        if segmentation["size"] != [height, width] or any(type(v) is not int for v in segmentation["size"]):
            return None
        counts = segmentation["counts"]
        runs = numbers_of(counts) if isinstance(counts, str) else counts
        if any(type(v) is not int or v < 0 for v in runs) or sum(runs) != height * width:
            return None
        return pixels_of(runs, height, width)
    except (ValueError, TypeError, KeyError):
        return None


def outcome(segmentation, height: int, width: int) -> str:
    runs = isinstance(segmentation, dict)
    wanted = seen(segmentation, height, width) if runs else None
    try:
        mask = read_segmentation(segmentation, height, width)
    except ValueError:
        assert not runs or wanted is None, "refused, but it is a mask of the picture"
        return "refused"
    pixels = decode(mask)
    assert pixels.shape == (height, width) and encode(pixels) == mask
    assert not runs or (wanted is not None and (pixels == wanted).all()), "another mask than it says"
    return "read"


def test_masks_with_changed_numbers_are_what_they_say_or_refused(campaign, limited):
    def check(rng) -> None:
        height, width = rng.randint(1, 12), rng.randint(1, 12)
        share, pixels = rng.random(), np.random.default_rng(rng.randrange(2**32))
        mask = pixels.random((height, width)) < share
        size = [height, width]
        forms = [{"size": size, "counts": runs_of(mask)}, encode(mask), [[1, 1, width, 1, width, height, 1.5, height]]]
        form = rng.choice(forms)
        if rng.random() < 0.4 and isinstance(form, dict) and isinstance(form["counts"], str):
            form = {"size": size, "counts": mutated_bytes(form["counts"].encode(), rng, 2).decode("latin-1")}
        elif rng.random() < 0.9:
            form = mutated_tree(form, rng, 2) if rng.random() < 0.9 else hostile(rng)
        limited(outcome, form, height, width)

    campaign.run(check, each=100)


def test_polygons_of_any_numbers_end_in_time(campaign, limited):
    def check(rng) -> None:
        height, width = rng.choice((1, 7, 600, 65_535)), rng.choice((1, 9, 800, 65_535))
        reach = rng.choice((1.0, 2.0, 3.0, 1e4))
        polygons = []
        for _ in range(rng.choice((1, 2, 50))):
            points = rng.choice((3, 4, 30, 2000))
            polygons.append([rng.uniform(-reach, reach) * (width, height)[i % 2] for i in range(2 * points)])
        if rng.random() < 0.3:
            polygons = mutated_tree(polygons, rng)
        limited(read_only, polygons, height, width)

    campaign.run(check, each=10)


def read_only(polygons, height: int, width: int) -> str:
    try:
        return str(read_segmentation(polygons, height, width)["size"])
    except ValueError as error:
        return str(error)
