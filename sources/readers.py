"""Readers of data sets by format: `format: NAME` of a part of the data set is the file sources/NAME.py."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from sources.part import Part
from structures.errors import UserError
from structures.modules import modules_with


def load_reader(format: str) -> Callable[..., Part]:
    """read_part(root, part, threads) of sources/NAME.py: reads one part of the data set in the folder root, a path or
    an address (structures.addresses).

    part: the part's section of the config, paths relative to root as attributes; threads: that may work on it. Raises
    UserError listing the formats where there is no such reader.
    """
    formats = modules_with("read_part", Path(__file__).parent)
    if format not in formats:
        raise UserError(f"format {format!r}: wanted one of {', '.join(formats)} (files of sources)")
    return import_module(f"sources.{format}").read_part
