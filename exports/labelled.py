"""What every writer of a format gets: pictures with their labels, as often as it likes, one at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
    content(image): the bytes of the picture's file.
    left_out(image, label, reason): told of every label that a format can't hold.
    """

    name: str
    categories: tuple[Category, ...]
    entries: Callable[[], Iterable[tuple[dict, list[dict]]]]
    content: Callable[[dict], bytes] = _no_pictures
    left_out: Callable[[dict, dict, str], None] = lambda image, label, reason: None
    description: str = "pseudo-labels: made without any drawn mask"

    def numbered(self) -> Iterator[tuple[int, dict, list[dict]]]:
        """(number, image, labels) of every picture. Ids that are all numbers, as COCO's, stay the numbers they are; others
        are counted from 1 on."""
        as_they_are = all(_is_number(image["image_id"]) for image, _ in self.entries())
        for place, (image, labels) in enumerate(self.entries(), start=1):
            yield int(image["image_id"]) if as_they_are else place, image, labels

    def category_numbers(self) -> dict[str, int]:
        return {category.name: number for number, category in enumerate(self.categories, start=1)}


def _is_number(image_id: str) -> bool:
    return image_id.isascii() and image_id.isdecimal() and str(int(image_id)) == image_id and int(image_id) < _LARGEST


def picture_name(number: int, image: dict) -> str:
    """The name of a picture's copy: its number, as COCO's files have it; distinct and plain whatever it was called."""
    suffix = Path(image["path"]).suffix.lower()
    return f"{number:012d}{suffix if suffix[1:].isascii() and suffix[1:].isalnum() else ''}"
