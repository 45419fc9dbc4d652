"""What a reader of a data set hands over, whatever the format: pictures, captions, labels, annotations, faults."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from structures.errors import UserError, one_line


class SourceError(UserError):
    """A data set's file that is missing or not what it should be."""

    def __init__(self, text: str):
        super().__init__(one_line(text))


class Fault(NamedTuple):
    """A row that can't be used. reason: one short name a kind of fault; key: the rest of the row's key."""

    image_id: str
    reason: str
    detail: str
    key: str = ""


def _nothing(size_of: Callable) -> tuple:
    return ()


@dataclass
class Part:
    """One part of a data set.

    images: {image_id: (path relative to root, width, height)}, the sizes None where only the picture tells;
    captions: rows of the table, or faults; labels: rows of the table, None where the annotations' categories are the
    labels; judged: rows of the table, None where every category was judged in every picture that has annotations;
    annotations(size_of): rows of the table, or faults, where size_of(image_id) is (height, width), or None for a
    picture that can't be used; counts: {category: objects outlined}, crowds left out.
    """

    images: dict[str, tuple[str, int | None, int | None]]
    captions: Iterable[dict | Fault] = ()
    labels: Iterable[dict | Fault] | None = None
    annotations: Callable[[Callable], Iterable[dict | Fault]] = _nothing
    faults: Iterable[Fault] = ()
    counts: dict[str, int] = field(default_factory=dict)
    judged: Iterable[dict | Fault] | None = None
