"""What every writer of a format gets: pictures with their labels, as often as it likes, one at a time."""

import io
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp", "PPM": ".ppm",
}  # fmt: skip
_NAMED = {*_SUFFIXES.values(), ".jpeg", ".tiff", ".pgm"}
_LARGEST = 2**31  # of an image's number, for readers that keep 32 bits


def _no_pictures(image: dict) -> bytes:
    raise ValueError("these labels come without their pictures")


@dataclass(frozen=True)
class Category:
    """A name, what stands as COCO's supercategory (here: its group), and other words for it."""

    name: str
    supercategory: str = "object"
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """name: what the labels are called, a run; categories: numbered from 1 on in their order.

    entries(): (image, labels) of every picture, in the order of their ids. image: image_id, path (relative to the data
    set's folder), width, height and, where they are known, captions (texts) and named (the categories that they name).
    labels: rows with category, instance, segmentation (RLE), area, bbox (xywh), confidence (0 to 1), decided_by and label
    (its id, structures.label_ids).
    content(image): the bytes of the picture's file; is_packed(image): whether it is no file of its own, but inside of one that
    holds many, where no other tool finds it.
    left_out(image, label, reason): told of every label that a format can't hold.
    sources: the names of a data set of several, with which its ids begin: NAME/ID.
    """

    name: str
    categories: tuple[Category, ...]
    entries: Callable[[], Iterable[tuple[dict, list[dict]]]]
    content: Callable[[dict], bytes] = _no_pictures
    left_out: Callable[[dict, dict, str], None] = lambda image, label, reason: None
    sources: tuple[str, ...] = ()
    description: str = "pseudo-labels: made without any drawn mask"
    is_packed: Callable[[dict], bool] = lambda image: False

    def numbered(self) -> Iterator[tuple[int, dict, list[dict]]]:
        """(number, image, labels) of every picture. Ids that are all numbers, as COCO's, stay the numbers they are; others
        are counted from 1 on. Of several sources that holds of each: those whose ids stay are as many, in order, as have none
        in common, and the others are counted on from the largest."""
        stay, count = self._numbered_sources()
        for image, labels in self.entries():
            source, own = self._own_id(image)
            if source not in stay:
                count += 1
            yield int(own) if source in stay else count, image, labels

    def _own_id(self, image: dict) -> tuple[str, str]:
        """The source of a picture, empty where there is one alone, and its id there."""
        source, _, own = image["image_id"].partition("/") if self.sources else ("", "", image["image_id"])
        return source, own

    def _numbered_sources(self) -> tuple[set[str], int]:
        """The sources whose ids stay the numbers they are, and the largest of these."""
        if not self.sources:
            return ({""} if all(_is_number(image["image_id"]) for image, _ in self.entries()) else set()), 0
        numbers: dict[str, array | None] = {}
        for image, _ in self.entries():
            source, own = self._own_id(image)
            of_source = numbers.setdefault(source, array("l"))
            if of_source is not None and _is_number(own):
                of_source.append(int(own))
            else:
                numbers[source] = None
        stay, taken = set(), np.zeros(0, np.int64)
        for source in self.sources:
            if (of_source := numbers.get(source)) and not np.isin(of_source, taken).any():
                stay.add(source)
                taken = np.append(taken, of_source)
        return stay, int(taken.max(initial=0))

    def picture_name(self, number: int, image: dict) -> str:
        """The name of a picture's copy: its number, as COCO's files have it, and what tools know a picture by: its suffix, that
        of its content where its path has none of a picture (a row of a Parquet file's)."""
        suffix = Path(image["path"]).suffix.lower()
        return f"{number:012d}{suffix if suffix in _NAMED else _suffix(self.content(image))}"

    def category_numbers(self) -> dict[str, int]:
        return {category.name: number for number, category in enumerate(self.categories, start=1)}


def _is_number(image_id: str) -> bool:
    return image_id.isascii() and image_id.isdecimal() and str(int(image_id)) == image_id and int(image_id) < _LARGEST


def _suffix(content: bytes) -> str:
    """The suffix of a picture by its content; empty where that is no picture of _SUFFIXES."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=tuple(_SUFFIXES)) as picture:
            return _SUFFIXES.get(str(picture.format), "")
    except (OSError, ValueError):
        return ""
