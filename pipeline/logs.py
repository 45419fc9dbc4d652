"""What a stage tells people: its log, and an error as one line."""

import errno
import logging
import sys
from pathlib import Path

from structures.errors import UserError

log = logging.getLogger("cap2mask")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OTHER_KIND = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
_FULL_SIGNS = ("os error 28", "os error 27", "os error 122", "file write failed", "unexpected pos")  # Rust's, torch's


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
        file = _LogFile(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)


def message(error: Exception) -> str:
    """An exception as one line for the user."""
    if isinstance(error, UserError):
        return str(error)
    code = error.errno if isinstance(error, OSError) else None
    file = f" ({error.filename})" if code and error.filename else ""
    if code in _FULL or any(sign in str(error) for sign in _FULL_SIGNS):
        return (
            f"the disk is full (or a limit on file sizes reached) while writing{file}; free some space (`python -m store gc` "
            "removes what no run uses, and spares checkpoints of trainings that go on from them) and run again: all "
            "finished stages are kept"
        )
    if code in (errno.EROFS, errno.EACCES, errno.EPERM) or "os error 30" in str(error):
        return f"{getattr(error, 'strerror', None) or error}{file}: a read-only disk, or another's folder? Give leave to write and run again"
    if code in _OTHER_KIND and file:
        return f"{error.strerror}{file}: a file stands where a folder should, or the other way round; move it away and run again"
    return f"unexpected {type(error).__name__}: {error}; the log holds the traceback (please report it)"


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: what can't be written is lost, with one line on the screen; the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.acquire()
        try:
            log.removeHandler(self)
            log.warning("the log %s can't be written any more: %s", self.baseFilename, sys.exc_info()[1])
        finally:
            self.release()
