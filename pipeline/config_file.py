"""Files of the configuration, YAML or JSON, read strictly: no key twice, no number that is none, no text that can't be
written again."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from structures.errors import UserError
from structures.json_texts import parse_json

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST, _LARGEST = 32, 2**63 - 1
_MOST = 100_000  # values, aliases of YAML followed


class ConfigError(UserError):
    """A key that does not exist, or a value of the wrong type or range."""


class _Loader(LOADER):
    """YAML without keys that stand twice in one mapping, of which the last would win."""

    def construct_mapping(self, node, deep=False):
        lines: dict = {}
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise ConfigError(f"line {line}: the key {key.value} stands there again (first in line {lines[name]})")
            lines[name] = line
        return super().construct_mapping(node, deep)


def read_yaml(file: Path, kind: type, remedy: str = "") -> Any:
    """The content of a YAML or JSON file, a `kind` (dict or list), None where it is empty.

    Raises ConfigError where it is missing (and says the remedy), no YAML, names a key twice, or holds something else.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = _from_json(text) if file.suffix == ".json" else _from_yaml(text)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}{remedy}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}, {error}") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: no UTF-8, no date, a number of 5,000 digits
        language = "JSON" if file.suffix == ".json" else "YAML"
        raise ConfigError(f"{file} is no {language}: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, kind):
        raise ConfigError(f"{file} holds no {'keys' if kind is dict else 'list'}")
    return content


def _from_yaml(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, LOADER):  # before anything is built of it, for a deep text ends the process
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"line {event.start_mark.line + 1}: nested more than {_DEEPEST} deep")
    return yaml.load(text, _Loader)


def _from_json(text: str) -> Any:
    """JSON proper: a text of JSON is YAML, too, but not one whose emoji are written as two escapes."""
    return parse_json(text) if text.strip() else None


def faults(content: Any) -> list[str]:
    """What no configuration can hold, whatever its schema: numbers that are none or too large, texts that are no Unicode or
    that no file can be named by, and what is too deep or too much. A line each, with the key."""
    found = []
    for count, (place, value) in enumerate(_values(content, "", 0)):
        if count > _MOST:
            return [f"more than {_MOST:,} values"]
        fault = _fault(value)
        if fault:
            found.append(f"{place or 'a key'} {fault}")
    return found


def _values(value: Any, place: str, depth: int) -> Iterator[tuple[str, Any]]:
    """(dotted place, value) of everything that is in a value; what is deeper than any configuration, cycles among it, as
    the value ValueError."""
    if depth > _DEEPEST:
        yield place, ValueError
    elif isinstance(value, dict):
        for key, item in value.items():
            yield "", key
            yield from _values(item, f"{place}.{key}" if place else str(key), depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, place, depth + 1)
    else:
        yield place, value


def _fault(value: Any) -> str:
    if value is ValueError:
        return f"is nested more than {_DEEPEST} deep"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, wanted a finite number"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"is a number of {len(f'{value:x}') * 4} bits, wanted at most {_LARGEST}"
    if isinstance(value, str):
        if "\0" in value:
            return f"is {shown(value)}, with a NUL in it"
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"is {shown(value)}, which is no Unicode text (half of a character)"
    return ""


def shown(value: Any) -> str:
    """A value as text on one line, the middle left out of a long one."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 120 else f"{text[:60]} … {text[-20:]}"
