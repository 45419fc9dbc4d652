"""Reader of any folder of pictures with a table of captions or labels: CSV, TSV, JSON lines or Parquet."""

import re
from pathlib import Path, PurePosixPath

from sources.part import Fault, Part, SourceError
from sources.tables import distinct, read_table

IMAGE = ("image", "file_name", "filename", "file", "path", "image_path")
CAPTION = ("caption", "text", "captions", "description", "sentence")
LABEL = ("label", "labels", "category", "categories", "tags", "class")


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images: the folder; part.captions: the table, with a column of file names below that folder (any of IMAGE)
    and a column of captions (any of CAPTION) or labels (any of LABEL; several are divided by comma, semicolon or bar,
    or a list), or both.

    A picture may stand in several rows. Image ids are the file names. Raises SourceError naming what the table lacks.
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
    images, captions, labels, faults = {}, [], set(), []
    for number, (where, row) in enumerate(table.rows()):
        image_id = ""
        try:
            if isinstance(row, str):
                raise ValueError(row)
            image_id = _file_name(row.get(image))
            text, words = _text(row.get(caption)), _labels(row.get(label))
        except ValueError as error:
            faults.append(Fault(image_id, "bad_row", f"{file}, {where}: {error}", str(number)))
            continue
        images[image_id] = (str(PurePosixPath(part.images) / image_id), None, None)
        if text:
            captions.append({"image_id": image_id, "caption_id": str(number), "text": text})
        elif not words:
            faults.append(Fault(image_id, "empty_caption", f"{file}, {where} has no words", str(number)))
        labels |= {(image_id, word) for word in words}
    if not images:
        first = f"; the first row that can't be used: {faults[0].detail}" if faults else ""
        raise SourceError(f"{file} holds no row with a file name{first}")
    return Part(images, captions, [{"image_id": i, "category": c} for i, c in sorted(labels)], faults=faults)


def _file_name(cell: object) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise ValueError("no file name" if cell is None or cell == "" else f"{str(cell)[:60]!r} is no file name")
    return str(PurePosixPath(cell.strip()))


def _text(cell: object) -> str:
    """A caption, empty where there is none."""
    if cell is not None and not isinstance(cell, str):
        raise ValueError(f"{str(cell)[:60]!r} is no caption: wanted one text in each row")
    return (cell or "").strip()


def _labels(cell: object) -> list[str]:
    """The names in a cell: a list, or one text with commas, semicolons or bars between them; none where it is empty."""
    words = re.split(r"[,;|]", cell) if isinstance(cell, str) else [] if cell is None else cell
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{str(cell)[:60]!r} are no labels: wanted a text, or a list of texts")
    return [word.strip() for word in words if word.strip()]
