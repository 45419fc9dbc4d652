"""Pictures inside of files that hold many: members of tars, rows of Parquet files. The path of such a picture is that of the
file, # and what it is called there: 00000.tar#000000001.jpg, train-00000.parquet#000000017."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sources import parquet_pictures, tars

_READERS = {tars.IN_TAR: tars.read_picture, parquet_pictures.IN_PARQUET: parquet_pictures.read_picture}


class Packed(NamedTuple):
    """file: path of what holds the picture; name: what it is called there; read: (file, name, most bytes) gives its bytes, or
    raises KeyError, OverflowError, OSError or SourceError, as sources.tars.read_picture does."""

    file: str
    name: str
    read: Callable[[Path, str, int], bytes]


def packed(path: str) -> Packed | None:
    """What a picture's path says of the file that holds it; None for a picture that is a file of its own, as far as names tell."""
    found = [(place, mark) for mark in _READERS if (place := path.find(mark)) >= 0]
    if not found:
        return None
    place, mark = min(found)
    return Packed(path[: place + len(mark) - 1], path[place + len(mark) :], _READERS[mark])
