"""Reader of any folder of pictures with a table of captions or labels: CSV, TSV, JSON lines or Parquet."""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from sources.part import Fault, Part, SourceError

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
    frame = _read(file)
    columns = {str(column).strip().lower(): column for column in frame.columns}
    image, caption, label = (
        next((columns[n] for n in names if n in columns), None) for names in (IMAGE, CAPTION, LABEL)
    )
    if image is None or (caption is None and label is None):
        raise SourceError(
            f"{file} has the columns {', '.join(map(str, frame.columns))}; wanted one of file names "
            f"({', '.join(IMAGE)}) and one of captions ({', '.join(CAPTION)}) or labels ({', '.join(LABEL)})"
        )
    images, captions, labels, faults = {}, [], set(), []
    for number, row in enumerate(frame.to_dict("records")):
        name = row[image]
        if not isinstance(name, str) or not name.strip():
            faults.append(Fault("", "bad_row", f"{file}, row {number + 1}: no file name", str(number)))
            continue
        image_id = str(PurePosixPath(name.strip()))
        images[image_id] = (str(PurePosixPath(part.images) / image_id), None, None)
        text = row[caption] if caption is not None else None
        words = _labels(row[label]) if label is not None else []
        if isinstance(text, str) and text.strip():
            captions.append({"image_id": image_id, "caption_id": str(number), "text": text.strip()})
        elif not words:
            faults.append(Fault(image_id, "empty_caption", f"{file}, row {number + 1} has no words", str(number)))
        labels |= {(image_id, word) for word in words}
    if not images:
        raise SourceError(f"{file} holds no row with a file name")
    return Part(images, captions, [{"image_id": i, "category": c} for i, c in sorted(labels)], faults=faults)


def _read(file: Path) -> pd.DataFrame:
    kind = file.suffix.lower()
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _json, ".ndjson": _json, ".parquet": pd.read_parquet}
    if kind not in readers:
        raise SourceError(f"{file}: wanted a table of captions as {', '.join(readers)} (ingest: captions)")
    try:
        return readers[kind](file)
    except OSError as error:
        raise SourceError(
            f"{file}: {error.strerror or error}; set ingest's captions to the table of captions"
        ) from error
    except ValueError as error:
        raise SourceError(f"{file} can't be read as {kind}: {error}") from error


def _csv(file: Path) -> pd.DataFrame:
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def _json(file: Path) -> pd.DataFrame:
    return pd.read_json(file, lines=True, dtype=False)


def _labels(cell) -> list[str]:
    """The names in a cell: a list, or one text with commas, semicolons or bars between them."""
    if isinstance(cell, str):
        cell = re.split(r"[,;|]", cell)
    elif not hasattr(cell, "__iter__"):
        return []
    return [word.strip() for word in cell if isinstance(word, str) and word.strip()]
