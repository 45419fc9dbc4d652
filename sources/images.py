"""Pictures of a data set: found inside its folder only, read whole or refused with the reason."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from structures.errors import UserError


class ImageError(UserError):
    """A picture that can't be used. reason: one short name a kind of fault."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self):  # so that a worker process can hand it over
        return ImageError, (self.reason, str(self))


def resolve(root: Path, path: str) -> Path:
    """The file of a picture. Raises ImageError where the path, links followed, leaves the data set's folder."""
    base = root.resolve()
    file = (base / path).resolve()
    if not file.is_relative_to(base):
        raise ImageError("outside_root", f"{path} leads out of {root}; keep pictures inside the data set's folder")
    return file


def read_image(root: Path, path: str) -> np.ndarray:
    """A picture of a data set, as decode_image gives it. Raises ImageError where it leaves the folder, too."""
    return decode_image(resolve(root, path))


def decode_image(file: Path) -> np.ndarray:
    """A picture of any kind as height x width x 3 uint8 RGB: turned as its EXIF orientation says, grey, palette and
    CMYK converted, what is transparent laid on white, 16 bits a channel scaled to 8.

    Raises ImageError where it is missing, no picture or cut short.
    """
    try:
        with Image.open(file) as image:
            return np.array(_as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise ImageError("missing_image", f"{file} is not there") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError("broken_image", f"{file} can't be read whole: {error}; fetch it again") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.array(image) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def inspect_image(task: tuple[Path, str]) -> tuple[int, int, str] | ImageError:
    """(width, height, sha256) of the picture at (root, path), decoded once to see that it is whole; or its fault."""
    root, path = task
    try:
        pixels = read_image(root, path)
        digest = hashlib.sha256(resolve(root, path).read_bytes()).hexdigest()
    except ImageError as error:
        return error
    return pixels.shape[1], pixels.shape[0], digest
