"""Data as scripts that hand it to the page: JSON in a string of JavaScript, in which no character can end the script."""

import json
from typing import Any


def script(part: str, content: Any) -> bytes:
    """A script that calls gallery.take(part, content), ASCII alone. JSON in a string is read several times as fast as an
    object of JavaScript.

    content: what JSON knows; raises ValueError for a number that is not finite.
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"gallery.take({_literal(part)}, {_literal(text)});\n".encode("ascii")


def _literal(text: str) -> str:
    """A string of JavaScript. Letters beyond ASCII, line separators (U+2028) among them, are escaped by json; < is here, so
    that no </script> and no <!-- stands in the file."""
    return json.dumps(text).replace("<", "\\u003c")
