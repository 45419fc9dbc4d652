"""JSON that users bring: read whole, or refused in one line that says where it is wrong and what to do."""

from pathlib import Path

from sources.part import SourceError
from structures.json_texts import parse_json

_GZIP = b"\x1f\x8b"


def read_json(path: Path, remedy: str) -> object:
    """The content of a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark. remedy: what to do where
    the file is missing. Raises SourceError."""
    check_regular(path)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}; {remedy}") from error
    refuse_compressed(path, content)
    try:
        return parse_json(content)
    except ValueError as error:
        raise SourceError(f"{path} is no JSON ({error}); fetch it again") from error


def refuse_compressed(path: Path, start: bytes) -> None:
    """Raises SourceError for a file that starts as gzip's do."""
    if start.startswith(_GZIP):
        raise SourceError(f"{path} is compressed: unpack it with gunzip")


def check_regular(path: Path) -> None:
    """Raises SourceError for a folder, a pipe or a device, which would be waited for."""
    try:
        regular = not path.exists() or path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # links in a circle, a name that is too long
        raise SourceError(f"{path} can't be opened: {error}") from error
    if not regular:
        raise SourceError(f"{path} is a folder, a pipe or a device, wanted a file")


def text_id(value: object) -> str:
    """An id of a JSON row as text: a whole number's digits, or a text that is not empty. Raises ValueError."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"an id is a whole number or a text, not {value!r}")
    return str(value)


def whole_number(value: object, name: str, least: int, most: int) -> int:
    """A whole number of a JSON row, which may be a text of digits. Raises ValueError saying what `name` is instead."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, wanted a whole number from {least} to {most}")
    return value


def real_number(value: object, name: str, most: float) -> float:
    """A number of a JSON row, at most `most` in either direction. Raises ValueError saying what `name` is instead."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise ValueError(f"{name} is {value!r}, wanted a number of at most {most:g} in either direction")
    return float(value)
