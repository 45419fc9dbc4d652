"""Pictures of every kind with changed bytes: whole pixels, or a reject in one line, in bounded time and memory."""

import functools
import io

import numpy as np
import pytest
from PIL import Image

from sources.images import FORMATS, ImageError, decode_image
from structures.errors import MOST_CHARACTERS
from tests.faults.mutations import mutated_bytes

pytestmark = pytest.mark.faults
PIXELS = 1_000_000  # that are allowed here
REASONS = {"broken_image", "unknown_format", "too_many_pixels", "too_narrow", "unknown_range"}


@functools.cache
def seeds() -> dict[str, bytes]:
    """{name: bytes} of a small picture in every kind that Pillow writes, those that are not opened among them."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)).resize((45, 30))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a title"
    modes = {mode: colours.convert(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK")}
    modes["I;16"] = Image.fromarray(np.array(modes["L"]).astype(np.uint16) * 257)
    modes["F"] = modes["L"].convert("F")
    options = [
        ("JPEG", {}), ("JPEG", {"progressive": True, "exif": exif}), ("PNG", {}), ("PNG", {"exif": exif}), ("GIF", {}), ("BMP", {}),
        ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw", "exif": exif}), ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}), ("WEBP", {"exif": exif}), ("WEBP", {"lossless": True}), ("PPM", {}), ("MPO", {}),
        ("GIF", {"save_all": True, "append_images": [colours]}), ("WEBP", {"save_all": True, "append_images": [colours]}),
        ("PNG", {"save_all": True, "append_images": [colours]}), ("AVIF", {}), ("JPEG2000", {}), ("DDS", {}), ("BLP", {}),
        ("ICO", {}), ("TGA", {}), ("EPS", {}), ("PDF", {}), ("PCX", {}), ("QOI", {}),
    ]  # fmt: skip
    files = {}
    for number, (kind, option) in enumerate(options):
        for mode, picture in modes.items():
            file = io.BytesIO()
            try:
                picture.save(file, kind, **option)
            except (OSError, ValueError, KeyError, TypeError):  # not every kind holds every mode
                continue
            files[f"{kind} {number} {mode}"] = file.getvalue()
    return files


def outcome(path) -> str:
    try:
        pixels = decode_image(path, PIXELS)
    except ImageError as error:
        assert error.reason in REASONS, error.reason
        text = str(error)
        text.encode()
        assert len(text.splitlines()) == 1 and len(text) <= MOST_CHARACTERS + 3
        return error.reason
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= PIXELS
    return "read"


def test_every_kind_is_read_or_refused_as_its_name_says(tmp_path, limited):
    for name, content in seeds().items():
        (tmp_path / "x").write_bytes(content)
        kind, _, mode = name.split()
        real = mode == "F" and kind in ("TIFF", "PPM")  # the others save it as eight bits
        wanted = "unknown_range" if real else "read" if kind in (*FORMATS, "MPO") else "unknown_format"
        assert limited(outcome, tmp_path / "x") == wanted, name


def test_a_picture_with_changed_bytes_is_read_or_rejected(campaign, tmp_path, limited):
    def check(rng) -> None:
        name = rng.choice(sorted(seeds()))
        (tmp_path / "x").write_bytes(mutated_bytes(seeds()[name], rng))
        limited(outcome, tmp_path / "x")

    campaign.run(check, each=50)
