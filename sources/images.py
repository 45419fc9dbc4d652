"""Pictures of a data set: regular files inside its folder, or parts of files there that hold many (sources.packed), of a few
formats, read whole or refused with the reason.

A picture's bytes are read once; their digest and its pixels are of the same bytes.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sources.packed import Packed, packed
from sources.part import SourceError
from structures.addresses import Address
from structures.errors import UserError, one_line
from structures.remote import Unreachable
from structures.roots import Root, placed

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # others run other programs, or are seldom pictures
MAX_PIXELS = 64_000_000  # of a picture, unless the caller says otherwise; decoding takes up to 10 bytes of each
MAX_RATIO = 30  # of a picture's longer side to its shorter, of which nothing would be left where networks shrink it
MAX_BYTES = 1 << 29  # of a picture's file: 64 million pixels of four channels of 16 bits
_TURNED = {  # by EXIF's orientation: what brings a picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF


class ImageError(UserError):
    """A picture that can't be used. reason: one short name a kind of fault."""

    def __init__(self, reason: str, detail: str):
        super().__init__(one_line(detail))
        self.reason = reason

    def __reduce__(self):  # so that a worker process can hand it over
        return ImageError, (self.reason, str(self))


def resolve(root: Path | Address, path: str) -> Path | Address:
    """The file of a picture. Raises ImageError where the path, links followed, leaves the data set's folder."""
    if isinstance(root, Address):
        if not (root / path).is_inside:
            raise ImageError("outside_root", f"{path} leads out of {root}; keep pictures inside the data set's folder")
        return root / path
    try:
        base = root.resolve()
        file = (base / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a NUL in the name
        raise ImageError("bad_path", f"{path} can't be the path of a picture: {error}") from error
    if not file.is_relative_to(base):
        raise ImageError("outside_root", f"{path} leads out of {root}; keep pictures inside the data set's folder")
    return file


def is_packed(path: str) -> bool:
    """Whether a picture's path leads into a file that holds many, as far as names tell."""
    return packed(path) is not None


def read_image(root: Root, path: str, sha256: str) -> np.ndarray:
    """A picture of a data set, as decode_image gives it, whose file is still what the table `images` says.

    Raises ImageError where it is not, or leaves the folder, too.
    """
    root, path = _placed(root, path)
    return _decoded(read_content(root, path, sha256), root / path, None)


def read_content(root: Root, path: str, sha256: str) -> bytes:
    """The bytes of such a picture, which is not decoded. Raises ImageError; AddressError where the server refuses."""
    root, path = _placed(root, path)
    if isinstance(root, Address):
        content = root.cache.read(sha256)
        if content is not None:
            return content
    file, content = _found(root, path, sha256)
    if isinstance(root, Address) and hashlib.sha256(content).hexdigest() != sha256:  # once more, from the server itself
        inside = packed(path)
        (root / (inside.file if inside else path)).forget()
        file, content = _found(root, path, sha256)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ImageError(
            "changed_image",
            f"{file} is not the picture that ingest read: put it back, or run `snakemake --cores all -R ingest`",
        )
    if isinstance(root, Address):
        _keep(root, path, content)
    return content


def _keep(root: Address, path: str, content: bytes) -> None:
    """Keep a picture in the cache, unless it is in a file of many that is there."""
    inside = packed(path)
    if not inside or not (root / inside.file).is_cached():
        root.cache.keep([content], len(content))


def decode_image(file: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A picture of one of FORMATS as height x width x 3 uint8 RGB: turned as its EXIF orientation says, grey, palette
    and CMYK converted, what is transparent laid on white, 16 bits a channel scaled to 8; of several frames the first.

    Raises ImageError where it is missing, no regular file, no such picture, cut short, of more pixels than max_pixels,
    MAX_RATIO times as long as wide, or of numbers whose range it does not say.
    """
    return _decoded(_content(file), file, max_pixels)


def decode_mask(file: Path) -> np.ndarray:
    """The pixels of a PNG that are not zero, height x width bool. Raises ImageError as decode_image does."""
    return _decoded(_content(file), file, MAX_PIXELS, formats=("PNG",), convert=_not_zero)


def inspect_image(task: tuple[Root, str, int]) -> tuple[int, int, str] | ImageError:
    """(width, height, sha256) of the picture at (root, path, max_pixels), decoded once to see that it is whole; or its
    fault."""
    root, path, max_pixels = task
    try:
        file, content = _found(*_placed(root, path))
        pixels = _decoded(content, file, max_pixels)
    except ImageError as error:
        return error
    return pixels.shape[1], pixels.shape[0], hashlib.sha256(content).hexdigest()


def inspect_images(tasks: list[tuple[Root, str, int]]) -> list[tuple[int, int, str] | ImageError]:
    """inspect_image of each."""
    return [inspect_image(task) for task in tasks]


def _placed(root: Root, path: str) -> tuple[Path | Address, str]:
    """The folder of the picture's source, and its path there."""
    try:
        return placed(root, path)
    except KeyError:
        raise ImageError("missing_image", f"{path} is of no source of the configuration; name it in sources") from None


def _found(root: Path | Address, path: str, sha256: str = "") -> tuple[Path | Address, bytes]:
    """The file of a picture, as messages name it, and its bytes; of a file that holds many and is there, the picture's. sha256: as
    for Address.content."""
    inside = packed(path)
    holder = resolve(root, inside.file) if inside else None
    if holder is None or not _is_file(holder):
        file = resolve(root, path)
        return file, _content(file, sha256=sha256)
    content = _content(holder, inside)
    if isinstance(holder, Path):
        return Path(f"{holder}#{inside.name}"), content
    if not sha256:
        _keep(root, path, content)
    return root / path, content


def _is_file(holder: Path | Address) -> bool:
    if isinstance(holder, Path):
        return os.path.isfile(holder)  # noqa: PTH113 (which raises nothing)
    try:
        return holder.is_file()
    except Unreachable as error:
        raise ImageError("unreachable_image", str(error)) from error


def _content(file: Path | Address, inside: Packed | None = None, sha256: str = "") -> bytes:
    """The bytes of a file, or of a picture inside of it."""
    try:
        if isinstance(file, Address):
            if inside is None:
                return file.content(MAX_BYTES, sha256)
            return inside.read(file, inside.name, MAX_BYTES)
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("no_regular_file", f"{file} is a folder, a pipe or a device; a picture is a regular file")
        if inside is not None:
            return inside.read(file, inside.name, MAX_BYTES)
        if status.st_size > MAX_BYTES:
            raise ImageError("too_large", f"{file} has {status.st_size} bytes, more than {MAX_BYTES}; make it smaller")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing_image", f"{file} is not there") from None
    except KeyError:
        raise ImageError("missing_image", f"{file} holds no picture {inside.name}") from None
    except OverflowError as error:
        raise ImageError(
            "too_large", f"{file}{f'#{inside.name}' if inside else ''} has {error} bytes, more than {MAX_BYTES}"
        ) from None
    except Unreachable as error:
        raise ImageError("unreachable_image", str(error)) from error
    except SourceError as error:
        raise ImageError("unreadable_image", str(error)) from error
    except (OSError, ValueError) as error:
        raise ImageError("unreadable_image", f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _decoded(
    content: bytes,
    file: Path | Address,
    max_pixels: int | None,
    formats: tuple = FORMATS,
    convert: Callable | None = None,
) -> np.ndarray:
    """convert: what is made of the picture, where it is not RGB."""
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            width, height = image.size
            if max_pixels is not None and width * height > max_pixels:
                raise Image.DecompressionBombError(f"{width} x {height} pixels, more than {max_pixels}")
            if max_pixels is not None and max(width, height) > MAX_RATIO * min(width, height):
                raise ImageError(
                    "too_narrow",
                    f"{file} is {width} x {height} pixels, one side more than {MAX_RATIO} times the other; cut a part out",
                )
            deep = any("16" in str(tile[3]) for tile in image.tile)  # which loading forgets
            image.load()
            if convert is not None:
                return convert(image)
            if deep and image.format == "PNG" and "transparency" in image.info:
                raise ImageError(
                    "transparent_colour",
                    f"{file} has 16 bits a channel and one of its colours is transparent, which is not told apart from its "
                    "neighbours in 8 bits; save it with an alpha channel, or 8 bits",
                )
            turned = _TURNED.get(image.getexif().get(_ORIENTATION))
            rgb = _as_rgb(image, file)
            return np.array(rgb.transpose(turned) if turned is not None else rgb)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        detail = f"{file}: {error}; make it smaller, or raise the config key ingest.max_pixels"
        raise ImageError("too_many_pixels", detail) from error
    except UnidentifiedImageError as error:
        detail = f"{file} is no picture of the kinds {', '.join(formats)}; convert it, or fetch it again"
        raise ImageError("unknown_format", detail) from error
    except Exception as error:  # Pillow raises whatever its parsing meets in a damaged file
        raise ImageError("broken_image", f"{file} can't be read whole: {error!r}; fetch it again") from error


def _not_zero(image: Image.Image) -> np.ndarray:
    return np.array(image if image.mode in ("1", "L", "I", "I;16") else image.convert("L")) > 0


def _as_rgb(image: Image.Image, file: Path | Address) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray(_eight_bits(image, file))
    if image.mode in ("I", "F"):
        raise ImageError(
            "unknown_range",
            f"{file} holds signed, 32-bit or floating-point numbers, and not which of them is white; save it with 8 or "
            "16 bits a channel",
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, file: Path | Address) -> np.ndarray:
    """A grey picture of 0..65535, height x width, as uint8."""
    values = np.array(image)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS, (16,))[0]
        if bits != 16:  # Pillow hands 12 bits on as they are: nearly black
            values = values.astype(np.uint32) * 65535 // (2**bits - 1)
        if image.tag_v2.get(_PHOTOMETRIC) == 0:  # zero is white
            values = 65535 - values
    return (values // 257).astype(np.uint8)
