"""The page of the gallery: what a browser reads, as it lies in this folder. It is part of this package's fingerprint."""

from pathlib import Path

_SUFFIXES = (".css", ".html", ".js")


def page_files() -> dict[str, bytes]:
    """{name: content} of the files of the page, sorted by name."""
    files = sorted(Path(__file__).parent.iterdir())
    return {file.name: file.read_bytes() for file in files if file.suffix in _SUFFIXES}
