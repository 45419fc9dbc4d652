"""Pictures of every kind, and those that are none."""

import hashlib
import io
import os
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from sources.images import MAX_BYTES, ImageError, decode_image, inspect_image, read_image

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
    with pytest.raises(ImageError, match=r"x\.jpg is no picture of the kinds JPEG, PNG"):
        decode_image(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="is not there"):
        decode_image(tmp_path / "y.jpg")
    assert reason(decode_image, tmp_path / "x.jpg" / "z.jpg") == "missing_image"


def reason(function, *args) -> str:
    with pytest.raises(ImageError) as error:
        function(*args)
    assert len(str(error.value).splitlines()) == 1
    return error.value.reason


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_every_orientation_is_as_pillow_turns_it(tmp_path, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = PICTURE.resize((40, 24))
    pixels = saved(tmp_path, picture, f"turned.{kind}", exif=exif)
    with Image.open(tmp_path / f"turned.{kind}") as image:
        np.testing.assert_array_equal(pixels, np.array(ImageOps.exif_transpose(image)))


def tiff(path, values, *, order="<", bits=16, photometric=1, sample_format=1):
    """A grey TIFF of one strip, written by hand: 12 bits are packed."""
    height, width = values.shape
    if bits == 12:
        digits = "".join(f"{v:012b}" for v in values.ravel())
        data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    else:
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, sample_format)]
    content = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data)) + data
    content += struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        content += struct.pack(f"{order}HHI", tag, kind, 1)
        content += struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *((value, 0) if kind == 3 else (value,)))
    path.write_bytes(content + struct.pack(f"{order}I", 0))
    return path


STEPS = np.linspace(0, 65535, 64).astype(np.uint16).reshape(4, 16)


def is_ramp(pixels) -> bool:
    wanted = np.linspace(0, 255, 64).reshape(4, 16)
    return pixels.shape == (4, 16, 3) and bool((np.abs(pixels - wanted[..., None]) <= 1.5).all())


def test_deep_grey_pictures_are_neither_black_nor_white(tmp_path):
    for order in "<>":
        assert is_ramp(decode_image(tiff(tmp_path / "deep.tif", STEPS, order=order)))
    assert is_ramp(decode_image(tiff(tmp_path / "white_is_zero.tif", 65535 - STEPS, photometric=0)))
    assert is_ramp(decode_image(tiff(tmp_path / "twelve.tif", STEPS >> 4, bits=12)))
    (tmp_path / "deep.pgm").write_bytes(b"P5 16 4 65535\n" + STEPS.astype(">u2").tobytes())
    assert is_ramp(decode_image(tmp_path / "deep.pgm"))
    (tmp_path / "ten.pgm").write_bytes(b"P5 16 4 1023\n" + (STEPS >> 6).astype(">u2").tobytes())
    assert is_ramp(decode_image(tmp_path / "ten.pgm"))


def png_of_16_bits(path, values, kind, transparent):
    """A PNG [height, width(, 3)] of 16 bits a channel, one of whose colours is transparent; Pillow writes none."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + colour + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def test_a_transparent_colour_among_16_bits_is_told_and_16_bits_alone_are_read(tmp_path):
    colours = np.stack([STEPS] * 3, 2)
    for name, values, kind, transparent in (("grey", STEPS, 0, (1040,)), ("rgb", colours, 2, (1040,) * 3)):
        assert (
            reason(decode_image, png_of_16_bits(tmp_path / f"{name}.png", values, kind, transparent))
            == "transparent_colour"
        )
        assert is_ramp(decode_image(png_of_16_bits(tmp_path / f"{name}.png", values, kind, ())))


def test_numbers_whose_range_is_not_said_are_refused(tmp_path):
    signed, whole, real = STEPS.astype(np.int16), STEPS.astype(np.uint32), (STEPS / 65535).astype(np.float32)
    for order in "<>":
        for name, values, kind in (("signed", signed, 2), ("real", real, 3)):
            file = tiff(tmp_path / f"{name}.tif", values, order=order, bits=8 * values.itemsize, sample_format=kind)
            assert reason(decode_image, file) == "unknown_range"
    assert reason(decode_image, tiff(tmp_path / "whole.tif", whole, bits=32)) == "unknown_range"
    (tmp_path / "real.pfm").write_bytes(b"Pf\n16 4\n-1.0\n" + real.tobytes())
    assert reason(decode_image, tmp_path / "real.pfm") == "unknown_range"


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "null.jpg").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "null"):
        assert reason(decode_image, tmp_path / f"{name}.jpg") == "no_regular_file"
    with (tmp_path / "long.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert reason(decode_image, tmp_path / "long.jpg") == "too_large"


def test_names_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path in ("a", "a/x.jpg", "x\0.jpg", "../x.jpg", "/etc/hostname", "x" * 5000, "\udcff.jpg", "-rf", "\n"):
        fault = inspect_image((tmp_path, path, 100))
        assert fault.reason in ("bad_path", "outside_root", "missing_image", "unreadable_image")
        str(fault).encode()
        assert len(str(fault).splitlines()) == 1 and len(str(fault)) < 1100


def test_names_of_any_letters_are_read_and_told_apart(tmp_path):
    names = ("a.png", "A.png", "\u00e9.png", "e\u0301.png", "-rf.png", "two\nlines.png", "\U0001f600.png", "\udcff.png")
    for i, name in enumerate(names):
        Image.new("RGB", (4, 3), (i, 0, 0)).save(tmp_path / name)
    for i, name in enumerate(names):
        _, _, digest = inspect_image((tmp_path, name, 100))
        assert read_image(tmp_path, name, digest)[0, 0, 0] == i


def test_a_postscript_file_starts_no_other_program(tmp_path, monkeypatch):
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail(f"starts {args}"))
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "EPS", "Pillow by itself would open it"
    assert reason(decode_image, tmp_path / "x.jpg") == "unknown_format"


def test_more_pixels_than_are_allowed_are_not_decoded(tmp_path):
    PICTURE.save(tmp_path / "x.png")
    assert decode_image(tmp_path / "x.png", 48).shape == (6, 8, 3)
    assert reason(decode_image, tmp_path / "x.png", 47) == "too_many_pixels"
    Image.new("1", (15000, 15000)).save(tmp_path / "bomb.png")
    assert reason(decode_image, tmp_path / "bomb.png") == "too_many_pixels"


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_exif_that_is_none_makes_a_broken_picture(tmp_path, kind):
    """Pillow raises a SyntaxError then, and other things for other damage."""
    PICTURE.save(tmp_path / f"x.{kind}", exif=b"Exif\0\0XX")
    assert reason(decode_image, tmp_path / f"x.{kind}") == "broken_image"


def test_a_strip_of_which_networks_would_see_nothing_is_refused(tmp_path):
    for size in ((20_000, 10), (10, 20_000), (61, 2)):
        Image.new("RGB", size).save(tmp_path / "strip.png")
        assert reason(decode_image, tmp_path / "strip.png") == "too_narrow"
    Image.new("RGB", (60, 2)).save(tmp_path / "long.png")
    assert decode_image(tmp_path / "long.png").shape == (2, 60, 3)


def test_a_picture_is_compared_with_what_was_recorded(tmp_path):
    PICTURE.save(tmp_path / "x.png")
    status = (tmp_path / "x.png").stat()
    width, height, digest = inspect_image((tmp_path, "x.png", 100))
    assert (width, height) == (8, 6) and digest == hashlib.sha256((tmp_path / "x.png").read_bytes()).hexdigest()
    np.testing.assert_array_equal(read_image(tmp_path, "x.png", digest), COLOURS)
    other = io.BytesIO()
    Image.fromarray(COLOURS[::-1]).save(other, "png")
    (tmp_path / "x.png").write_bytes(other.getvalue())
    os.utime(tmp_path / "x.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reason(read_image, tmp_path, "x.png", digest) == "changed_image"
