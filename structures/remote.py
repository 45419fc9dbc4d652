"""Requests to buckets and servers through fsspec: repeated with growing waits where they fail, and never without end.

Endpoint and credentials come from the environment, as the libraries of each kind of address take them (of s3 as boto's do).
They are named in no message. Nothing of fsspec is imported before the first request.
"""

import errno
import io
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from structures.errors import UserError, one_line
from structures.progress import progress

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt to read; random.uniform(1, 1.5) times as long
LOOKS = 2  # of these, where nothing is read but whether something is there
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 30  # seconds
MOST_FAILURES = 20  # requests one after the other, of a process, that came to nothing; then it stops
_SHOWN = 1 << 26  # bytes of a file whose progress is shown
BLOCK = 1 << 22  # bytes of a request, where a file is read whole or in parts
WEB = ("http", "https")  # whose folders can't be listed
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created")
_NO_CREDENTIALS = {
    "CredentialRetrievalError", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}  # fmt: skip
_REFUSED = {errno.EINVAL, errno.EPERM, errno.ENOSYS, getattr(errno, "EREMCHG", errno.EINVAL)}  # asking again is no use
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_jitter = random.SystemRandom()
_failures = [0]  # one after the other, of this process


class AddressError(UserError):
    """An address that is wrong, or whose server refuses."""


class Unreachable(AddressError):
    """What could not be read, however often it was tried."""


class State(NamedTuple):
    """A file's size in bytes, and what changes with its content: its ETag, or the next best that the server tells."""

    size: int
    version: str


def state(address: str) -> State:
    """Raises FileNotFoundError where there is no such file, a folder included; AddressError."""
    info = _repeated(address, lambda files, path: files.info(path), LOOKS)
    if info.get("type") == "directory":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address)
    return _state(address, info)


def is_folder(address: str) -> bool:
    """Whether anything lies below an address; of one of WEB nobody knows, and it is taken for one. Raises AddressError."""
    if _protocol(address) in WEB:
        return True
    try:
        return _repeated(address, lambda files, path: files.info(path), LOOKS)["type"] == "directory"
    except FileNotFoundError:
        return False


def listing(address: str) -> dict[str, State]:
    """{path relative to the address: its state} of all files below it, sorted. Raises AddressError."""

    def find(files, path: str) -> dict[str, State]:
        above = files._strip_protocol(path).rstrip("/") + "/"
        found = files.find(path, detail=True)
        return {
            name.removeprefix(above): _state(address, info)
            for name, info in sorted(found.items())
            if name.startswith(above) and not name.endswith("/") and info.get("type") != "directory"
        }

    try:
        return _repeated(address, find, LOOKS)
    except FileNotFoundError:
        return {}


def fetch(address: str, start: int, end: int, *, most: bool = False) -> bytes:
    """The bytes [start, end) of a file; most: or fewer, where it ends before, of which nobody was told.

    Raises FileNotFoundError, AddressError, and Unreachable where it was tried len(WAITS) + 1 times.
    """
    if end <= start:
        return b""

    def read(files, path: str) -> bytes:
        content = files.cat_file(path, start=start, end=end)
        if len(content) > end - start:  # a server that knows no ranges
            content = content[start:end]
        if not most and len(content) != end - start:
            raise OSError(errno.EIO, f"{len(content)} of {end - start} bytes came")
        return content

    return _repeated(address, read, len(WAITS))


def blocks(address: str, known: State) -> Iterator[bytes]:
    """A file, block by block. Raises AddressError where it changed meanwhile."""
    starts, quiet = range(0, known.size, BLOCK), known.size < _SHOWN
    for start in progress(starts, description=f"fetching {address}", unit=f"{BLOCK >> 20} MB", quiet=quiet):
        yield fetch(address, start, min(start + BLOCK, known.size))
    if known.size > BLOCK:
        _check_unchanged(address, known)


def _check_unchanged(address: str, known: State) -> None:
    if state(address) != known:
        raise AddressError(f"{address} was changed while it was read; start again")


class Parts(io.RawIOBase):
    """A file that is read where it lies."""

    def __init__(self, address: str, known: State):
        self._address, self._known, self._position = address, known, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._known.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        end = min(self._position + min(len(buffer), BLOCK), self._known.size)
        content = fetch(self._address, self._position, end)
        buffer[: len(content)] = content
        self._position += len(content)
        if content and self._position == self._known.size:
            _check_unchanged(self._address, self._known)
        return len(content)


def _state(address: str, info: dict) -> State:
    if info.get("size") is None:
        raise AddressError(f"{address}: the server does not tell its size, without which it can't be read in parts")
    version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    return State(int(info["size"]), version.strip('"'))


def _protocol(address: str) -> str:
    return address.partition("://")[0].lower()


def _repeated(address: str, request: Callable[[Any, str], Any], waits: int) -> Any:
    """What request(filesystem, address) gives, tried anew after so many of WAITS; where the request before came to nothing, a
    reading one once again, others not."""
    if _failures[0]:
        waits = 1 if waits == len(WAITS) else 0
    for attempt in range(waits + 1):
        try:
            answer = request(_filesystem(_protocol(address), os.getpid()), address)
        except AddressError:
            raise
        except Exception as error:  # of a dozen libraries, each with its own
            reason = _reason(error)
            if _code(error) == "InvalidRange" or getattr(error, "status", 0) == 416:
                return b""
            if _code(error) == "NoSuchBucket":
                raise AddressError(f"{address}: there is no such bucket; correct the address") from error
            if isinstance(error, FileNotFoundError):
                _failures[0] = 0
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address) from None
            if _refuses(error):
                raise AddressError(f"{address}: {reason}; {_remedy(address)}") from error
        else:
            _failures[0] = 0
            return answer
        if attempt < waits:
            time.sleep(WAITS[attempt] * _jitter.uniform(1, 1.5))
    _failures[0] += 1
    if _failures[0] >= MOST_FAILURES:
        raise AddressError(
            f"{address}: {reason}, as {_failures[0]} requests one after the other; is there a network? Start again when "
            "there is: what was read is kept"
        )
    raise Unreachable(f"{address} can't be read ({reason}; {waits + 1} attempts); try again later")


@lru_cache(maxsize=16)
def _filesystem(protocol: str, process: int) -> Any:
    """fsspec's file system, of which each process needs its own."""
    import fsspec

    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise AddressError(f"{protocol}:// is read by a package that is not installed: {error}") from error
    except ValueError as error:
        raise AddressError(f"{protocol}:// is no address that can be read; s3://, gs:// and https:// are") from error
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        times = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT}
        options["config_kwargs"] = times | {"retries": {"total_max_attempts": 1}}
    elif protocol in WEB:
        import aiohttp

        times = {"sock_connect": CONNECT_TIMEOUT, "sock_read": READ_TIMEOUT, "total": None}
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(**times)}
    files = kind(**options)
    if hasattr(files, "retries"):
        files.retries = 1  # _repeated does it
    return files


def _code(error: BaseException) -> str:
    """The code of an error of S3's."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def _refuses(error: Exception) -> bool:
    """Whether asking again is no use: credentials that are missing or wrong, a request that no such server knows."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 429)
    if isinstance(error, PermissionError | ValueError | NotImplementedError) or type(error).__name__ in _NO_CREDENTIALS:
        return True
    return isinstance(error, OSError) and error.errno in _REFUSED


def _reason(error: Exception) -> str:
    """What an error says, without credentials that the environment holds."""
    text = str(error) or type(error).__name__
    for name in _SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], "…")
    return one_line(text, 200)


def _remedy(address: str) -> str:
    if _protocol(address) not in ("s3", "s3a"):
        return "check the address, and the credentials that the environment holds for it"
    return (
        "check the address, and in the environment the credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY), whether they may read and list it, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION; for a bucket "
        "that is open to all set FSSPEC_S3_ANON=true"
    )
