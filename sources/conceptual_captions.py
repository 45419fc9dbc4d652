"""Reader of Conceptual Captions (Sharma et al., 2018): a TSV of caption and address, and a folder of what was fetched.

A picture that could not be fetched is normal here. File names are what the fetching tool made of a row.
"""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sources.part import Fault, Listed, Part, SourceError
from sources.tables import lines


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.captions: the TSV (caption, address; no header); part.images: the folder; part.file_name: a pattern of file
    names with {row} (from 0 on), {crc32} and {md5} (of the address), as "{row:09d}.jpg" or "{row}_{crc32}".

    Image ids are "cc_" and the row's number. Raises SourceError, while they are read.
    """
    file = root / part.captions
    return Part(_pictures(file, part.images, part.file_name), _captions(file), ())


def _pictures(file: Path, folder: str, file_name: str) -> Iterator[Listed | Fault]:
    some = False
    for row, caption, address in _rows(file):
        image_id = f"cc_{row}"
        if not address or not caption:
            yield Fault(image_id, "bad_row", f"{file}, line {row + 1}: wanted caption, tab, address")
            continue
        code = address.encode(errors="surrogateescape")
        names = {"row": row, "crc32": zlib.crc32(code), "md5": hashlib.md5(code, usedforsecurity=False).hexdigest()}
        try:
            name = file_name.format(**names)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise SourceError(f"ingest: file_name {file_name!r} is no pattern of {', '.join(names)}") from error
        some = True
        yield image_id, (str(PurePosixPath(folder) / name), None, None)
    if not some:
        raise SourceError(f"{file} holds no line of caption, tab, address")


def _captions(file: Path) -> Iterator[dict]:
    for row, caption, address in _rows(file):
        if address and caption:
            yield {"image_id": f"cc_{row}", "caption_id": f"cc_{row}", "text": caption}


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in lines(file):
        caption, _, address = line.rstrip("\r\n").partition("\t")
        yield number - 1, caption.strip(), "" if "\t" in address else address.strip()
