"""Streams of items in batches."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int, *, alike: Callable = lambda item: None) -> Iterator[list[Item]]:
    """Lists of `size` items in a row, the last one shorter; a list holds items of one alike(item) only."""
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) == size or alike(item) != alike(batch[0])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
