"""JSON written piece by piece, so that a file of millions of labels takes the memory of one."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Object:
    """A JSON object whose members are written one after the other."""

    def __init__(self, stream):
        self._stream, self._first = stream, True

    def member(self, name: str, value: Any) -> None:
        """Write a member whose value fits into memory."""
        self._begin(name)
        self._stream.write(_text(value))

    def array(self, name: str, items: Iterable[Any]) -> None:
        """Write a member that is a list, item by item."""
        self._begin(name)
        write_items(self._stream, items)

    def _begin(self, name: str) -> None:
        self._stream.write(("{\n" if self._first else ",\n") + f"{json.dumps(name)}: ")
        self._first = False


@contextmanager
def json_object(path: Path) -> Iterator[_Object]:
    """A file that holds one JSON object of at least one member, in ASCII."""
    with path.open("w", encoding="ascii", newline="\n") as stream:
        yield _Object(stream)
        stream.write("\n}\n")


def json_array(path: Path, items: Iterable[Any]) -> None:
    """Write a file that holds one JSON list, an item a line."""
    with path.open("w", encoding="ascii", newline="\n") as stream:
        write_items(stream, items)
        stream.write("\n")


def write_items(stream, items: Iterable[Any]) -> None:
    separator = "[\n"
    for item in items:
        stream.write(separator + _text(item))
        separator = ",\n"
    stream.write("[]" if separator == "[\n" else "\n]")


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
