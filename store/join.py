"""Tables that are split by image, read side by side: for each image the rows of all of them, in bounded memory."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

_IMAGE = itemgetter("image_id")


def join_by_image(rows: Iterable[dict], *others: Iterable[dict]) -> Iterator[tuple[str, tuple[list[dict], ...]]]:
    """(image_id, (the image's rows, those of the first other table, …)) for every image of `rows`, in order.

    All of them are sorted by image_id; images that only others have are passed over, what others lack is an empty list.
    Raises ValueError where rows come out of order.
    """
    streams = [_Stream(other) for other in others]
    last = ""
    for image_id, image_rows in groupby(rows, _IMAGE):
        if image_id < last:
            raise ValueError(f"rows of image {image_id} come after those of {last}")
        last = image_id
        yield image_id, (list(image_rows), *(stream.take(image_id) for stream in streams))
    for stream in streams:
        stream.take_last()


class _Stream:
    """The groups of one table; asked for in order."""

    def __init__(self, rows: Iterable[dict]):
        self._groups = groupby(rows, _IMAGE)
        self._next: tuple[str, list[dict]] | None = None
        self._last = ""
        self._advance()

    def _advance(self) -> None:
        image_id, rows = next(self._groups, (None, ()))
        if image_id is None:
            self._next = None
            return
        if image_id < self._last:
            raise ValueError(f"rows of image {image_id} come after those of {self._last}")
        self._next, self._last = (image_id, list(rows)), image_id

    def take_last(self) -> None:
        """See whether what comes next is in order, too: nobody asks for it."""
        if self._next:
            self._advance()

    def take(self, image_id: str) -> list[dict]:
        while self._next and self._next[0] < image_id:
            self._advance()
        return self._next[1] if self._next and self._next[0] == image_id else []
