"""Pictures of every kind, and those that are none."""

import numpy as np
import pytest
from PIL import Image

from sources.images import ImageError, decode_image

COLOURS = np.zeros((6, 8, 3), np.uint8)
COLOURS[:3, :4] = (200, 40, 40)
COLOURS[3:, 4:] = (40, 40, 200)
PICTURE = Image.fromarray(COLOURS)


def saved(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return decode_image(tmp_path / name)


def test_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn a quarter to the right to see it
    pixels = saved(tmp_path, PICTURE.transpose(Image.Transpose.ROTATE_90), "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels, COLOURS)


def test_grey_palette_and_cmyk(tmp_path):
    grey = saved(tmp_path, PICTURE.convert("L"), "grey.png")
    assert grey.shape == (6, 8, 3) and (grey == grey[..., :1]).all() and grey[0, 0, 0] > grey[5, 0, 0]
    np.testing.assert_array_equal(
        saved(tmp_path, PICTURE.convert("P", palette=Image.Palette.ADAPTIVE), "p.gif"), COLOURS
    )
    cmyk = saved(tmp_path, PICTURE.resize((64, 48), 0).convert("CMYK"), "cmyk.jpg", quality=98)
    assert np.abs(cmyk[4, 4].astype(int) - (200, 40, 40)).max() < 25


def test_what_is_transparent_is_laid_on_white(tmp_path):
    clear = PICTURE.convert("RGBA")
    clear.putalpha(Image.fromarray((COLOURS[..., 0] > 100).astype(np.uint8) * 255))
    pixels = saved(tmp_path, clear, "clear.png")
    assert pixels[0, 0].tolist() == [200, 40, 40] and pixels[5, 7].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled(tmp_path):
    deep = Image.fromarray(COLOURS[..., 0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(saved(tmp_path, deep, "deep.png")[..., 0], COLOURS[..., 0])


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "x.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"x\.jpg can't be read whole"):
        decode_image(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="is not there"):
        decode_image(tmp_path / "y.jpg")
