"""What a stage tells people: its log, and an error as one line."""

import errno
import logging
import sys
from pathlib import Path

from structures.errors import UserError

log = logging.getLogger("cap2mask")


def start_log(path: Path | None, quiet: bool = False) -> None:
    """Messages to standard error (warnings alone where quiet), all of them with their time to a file, if one is
    named."""
    log.setLevel(logging.DEBUG)
    log.handlers.clear()
    on_screen = logging.StreamHandler(sys.stderr)
    on_screen.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(on_screen)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)


def message(error: Exception) -> str:
    """An exception as one line for the user."""
    if isinstance(error, UserError):
        return str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "os error 28" in str(error) or "os error 27" in str(error):
        return (
            "the disk is full (or a limit on file sizes reached) while writing below the data folder; free some space "
            "(`python -m store gc` removes what no run uses) and run again: all finished stages are kept"
        )
    return f"unexpected {type(error).__name__}: {error}; the log holds the traceback (please report it)"
