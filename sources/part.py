"""What a reader of a data set hands over, whatever the format: pictures, captions, labels, annotations, faults."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from structures.errors import UserError, one_line


class SourceError(UserError):
    """A data set's file that is missing or not what it should be."""

    def __init__(self, text: str):
        super().__init__(one_line(text))


MAX_CAPTION = 10_000  # characters; the longest of Localized Narratives have some 2,000
MAX_NAME = 200  # characters of a category's name
MAX_ID = 1000  # characters of an image's id, which may be its path
_MOST = {"text": MAX_CAPTION, "category": MAX_NAME}  # of a column; of the others MAX_ID


class Fault(NamedTuple):
    """A row that can't be used. reason: one short name a kind of fault; key: the rest of the row's key."""

    image_id: str
    reason: str
    detail: str
    key: str = ""


class Missing(Fault):
    """A picture that the source lists and says is not there."""


Listed = tuple[str, tuple[str, int | None, int | None]]


def text_fault(row: dict) -> Fault | None:
    """What is wrong with the texts of a row that a reader hands over: one that is too long, or no Unicode (bytes of another
    encoding, a half of a pair in JSON)."""
    for column, value in row.items():
        if not isinstance(value, str):
            continue
        most, fault = _MOST.get(column, MAX_ID), None
        if len(value) > most:
            fault = "long_text", f"{column} has {len(value)} characters, more than {most}: {value[:60]}…"
        elif not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            fault = "no_unicode", f"{column} is no text in UTF-8: {value}; save the file as UTF-8"
        if fault:
            image_id, key = (str(row.get(name, ""))[:MAX_ID] for name in ("image_id", "caption_id"))
            return Fault(image_id, *fault, key)
    return None


def _nothing(size_of: Callable) -> tuple:
    return ()


@dataclass
class Part:
    """One part of a data set.

    images: (image_id, (path relative to root, width, height)) of each picture, the path as sources.images takes it, the sizes
    None where only the picture tells, or faults; where they are many they come one after the other, are read once, before
    all else, and may be repeated; of a reader that holds them anyway a dict;
    captions: rows of the table, or faults; labels: rows of the table, None where the annotations' categories are the
    labels; judged: rows of the table, None where every category was judged in every picture that has annotations;
    categories: names that the source annotates, where judged is None;
    annotations(size_of): rows of the table (segmentation None where there is a box alone), or faults, where
    size_of(image_id) is (height, width), or None for a picture that can't be used; faults: of pictures that are a dict, and of
    all that is read with them; counts: {category: objects annotated}, crowds left out, known when all pictures are read.
    """

    images: dict[str, tuple[str, int | None, int | None]] | Iterable[Listed | Fault]
    captions: Iterable[dict | Fault] = ()
    labels: Iterable[dict | Fault] | None = None
    annotations: Callable[[Callable], Iterable[dict | Fault]] = _nothing
    faults: Iterable[Fault] = ()
    counts: dict[str, int] = field(default_factory=dict)
    judged: Iterable[dict | Fault] | None = None
    categories: Collection[str] = ()

    def pictures(self) -> Iterator[Listed | Fault]:
        """The pictures, and what is wrong with others."""
        yield from self.faults
        yield from self.images.items() if isinstance(self.images, dict) else self.images
