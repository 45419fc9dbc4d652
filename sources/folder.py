"""Reader of any folder of pictures with a table of captions or labels: CSV, TSV, JSON lines or Parquet."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sources.part import Fault, Listed, Part, SourceError
from sources.tables import Table, distinct, read_table

IMAGE = ("image", "file_name", "filename", "file", "path", "image_path")
CAPTION = ("caption", "text", "captions", "description", "sentence")
LABEL = ("label", "labels", "category", "categories", "tags", "class")


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images: the folder; part.captions: the table, with a column of file names below that folder (any of IMAGE)
    and a column of captions (any of CAPTION) or labels (any of LABEL; several are divided by comma, semicolon or bar,
    or a list), or both.

    A picture may stand in several rows. Image ids are the file names. The table is read once for its pictures, once for its
    captions, once for its labels. Raises SourceError naming what the table lacks.
    """
    file = root / part.captions
    table = read_table(file)
    distinct(file, [column.strip().lower() for column in table.columns])
    columns = {column.strip().lower(): column for column in table.columns}
    image, caption, label = (
        next((columns[n] for n in names if n in columns), None) for names in (IMAGE, CAPTION, LABEL)
    )
    if image is None or (caption is None and label is None):
        raise SourceError(
            f"{file} has the columns {', '.join(table.columns)}; wanted one of file names "
            f"({', '.join(IMAGE)}) and one of captions ({', '.join(CAPTION)}) or labels ({', '.join(LABEL)})"
        )

    def rows() -> Iterator[_Row | Fault]:
        return _rows(file, table, image, caption, label)

    return Part(_pictures(file, part.images, rows), _captions(rows), _labels(rows))


class _Row(NamedTuple):
    """A row of the table: its number from 0 on, the file's name, a caption, or none, labels, or none."""

    number: int
    image_id: str
    text: str
    labels: list[str]


def _rows(file: Path, table: Table, image: str, caption: str | None, label: str | None) -> Iterator[_Row | Fault]:
    """Each row, or why it can't be used. image, caption, label: the names of columns."""
    for number, (where, row) in enumerate(table.rows()):
        image_id = ""
        try:
            if isinstance(row, str):
                raise ValueError(row)
            image_id = _file_name(row.get(image))
            text, words = _text(row.get(caption)), _words(row.get(label))
        except ValueError as error:
            yield Fault(image_id, "bad_row", f"{file}, {where}: {error}", str(number))
            continue
        yield _Row(number, image_id, text, words)
        if not text and not words:
            yield Fault(image_id, "empty_caption", f"{file}, {where} has no words", str(number))


def _pictures(file: Path, folder: str, rows: Callable) -> Iterator[Listed | Fault]:
    last, some, first = None, False, ""
    for row in rows():
        if isinstance(row, Fault):
            first = first or f"; the first row that can't be used: {row.detail}"
            yield row
        elif row.image_id != last:
            some, last = True, row.image_id
            yield row.image_id, (str(PurePosixPath(folder) / row.image_id), None, None)
    if not some:
        raise SourceError(f"{file} holds no row with a file name{first}")


def _captions(rows: Callable) -> Iterator[dict]:
    for row in rows():
        if isinstance(row, _Row) and row.text:
            yield {"image_id": row.image_id, "caption_id": str(row.number), "text": row.text}


def _labels(rows: Callable) -> Iterator[dict]:
    for row in rows():
        if isinstance(row, _Row):
            yield from ({"image_id": row.image_id, "category": word} for word in row.labels)


def _file_name(cell: object) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise ValueError("no file name" if cell is None or cell == "" else f"{str(cell)[:60]!r} is no file name")
    return str(PurePosixPath(cell.strip()))


def _text(cell: object) -> str:
    """A caption, empty where there is none."""
    if cell is not None and not isinstance(cell, str):
        raise ValueError(f"{str(cell)[:60]!r} is no caption: wanted one text in each row")
    return (cell or "").strip()


def _words(cell: object) -> list[str]:
    """The names in a cell: a list, or one text with commas, semicolons or bars between them; none where it is empty."""
    words = re.split(r"[,;|]", cell) if isinstance(cell, str) else [] if cell is None else cell
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{str(cell)[:60]!r} are no labels: wanted a text, or a list of texts")
    return [word.strip() for word in words if word.strip()]
