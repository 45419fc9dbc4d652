"""Streams of items in batches."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(
    items: Iterable[Item], size: int, *, alike: Callable | None = None, whole: Callable | None = None
) -> Iterator[list[Item]]:
    """Lists of `size` items in a row, the last one shorter.

    A list holds items of one alike(item) only, and grows beyond `size` rather than part neighbours of one whole(item).
    """
    batch: list[Item] = []
    for item in items:
        full = len(batch) >= size and not (whole and whole(item) == whole(batch[-1]))
        if batch and (full or (alike and alike(item) != alike(batch[0]))):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
