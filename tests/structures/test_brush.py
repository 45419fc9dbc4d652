"""Label Studio's run-length code of brushes."""

import numpy as np
import pytest

from structures.brush import decode_brush, encode_brush

# Of a picture of 2 x 3 pixels of which the first of the second row is painted, by encode_rle of label_studio_sdk 2.1.2.
PUBLISHED = [0, 0, 0, 24, 57, 27, 253, 176, 8, 255, 231, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 200)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_mask_comes_back_as_it_was(shape, share):
    mask = np.random.default_rng(1).random(shape) < share
    assert np.array_equal(decode_brush(encode_brush(mask), *shape), mask)


def test_what_label_studio_wrote_is_read():
    assert decode_brush(PUBLISHED, 2, 3).tolist() == [[False] * 3, [True, False, False]]


def test_many_values_in_one_run_are_read():
    bits = f"{16:032b}" + f"{7:05b}" + "0010001101111111"
    bits += "0" + "01" + f"{15:04b}" + "".join(f"{value:08b}" for value in [0, 0, 0, 9] * 2 + [1, 1, 1, 0] * 2)
    bits += "0" * (-len(bits) % 8)
    code = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_brush(code, 2, 2).tolist() == [[True, True], [False, False]], "the last byte of a pixel counts"


@pytest.mark.parametrize("code", [None, [], [300], [0, 0, 0, 16], "abc", [1.5]])
def test_what_is_no_brush_is_refused(code):
    with pytest.raises(ValueError):
        decode_brush(code, 2, 2)


def test_a_code_cut_short_anywhere_is_refused():
    code = encode_brush(np.random.default_rng(2).random((9, 9)) < 0.3)
    for length in range(len(code) - 1):
        with pytest.raises(ValueError):
            decode_brush(code[:length], 9, 9)


def test_a_code_of_another_picture_is_refused():
    with pytest.raises(ValueError, match="of 6 pixels in a picture of height and width"):
        decode_brush(encode_brush(np.ones((2, 3), bool)), 3, 3)
