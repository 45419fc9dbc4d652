"""JSON texts, read strictly, whoever wrote them."""

import json


def parse_json(content: bytes | str) -> object:
    """The value that a JSON text holds. Raises ValueError for a text that is none, is nested too deeply, or holds an object
    with a key twice, of which json alone would take the last."""
    try:
        return json.loads(content, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return content
