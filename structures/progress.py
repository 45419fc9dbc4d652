"""One progress bar for every long loop: rate and time left; plain lines, half a minute apart, where no terminal is."""

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm


def progress(
    items: Iterable, *, description: str, unit: str, total: int | None = None, done: int = 0, quiet: bool = False
) -> Iterator:
    """Yield `items`, showing how far they are on standard error; `done` of `total` were finished earlier."""
    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        desc=description,
        unit=unit,
        total=total,
        initial=done,
        mininterval=0.5 if terminal else 30,
        ascii=None if terminal else True,
        dynamic_ncols=terminal,
        file=sys.stderr if terminal else _Lines(),
        **({"disable": True} if quiet else {}),
    )


class _Lines:
    """A stream that ends each redrawn bar with a newline, so that a log holds lines."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n")
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
