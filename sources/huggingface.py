"""Reader of Parquet files as the Hugging Face hub stores data sets with pictures: a column of the feature Image (bytes and path),
and columns of captions.

Files of the hub are named SPLIT-00000-of-00012.parquet, so that a part of one that lacks some is noticed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sources.images import resolve
from sources.json_files import check_regular, text_id
from sources.parquet_pictures import IN_PARQUET, image_column, lacks_bytes, path_of, readable
from sources.part import Fault, Missing, Part, SourceError
from sources.tables import parquet_errors
from structures.progress import progress

_OF_HUB = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.parquet")
_SHOWN = 5  # of the files that are missing
_BATCH = 1024


@dataclass
class _File:
    """path: relative to the data set's folder; columns: of pictures, of ids (None: there is none) and of captions."""

    path: str
    image: str
    id: str | None
    captions: list[str]

    def in_picture(self, row: int, named: bool) -> str:
        return path_of(self.path, row, self.image if named else "")


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images: the folder of the files; part.parquet: their names in it, as *.parquet or data/train-*.parquet;
    part.image_column: the column of pictures, empty for the only one; part.caption_columns: those of captions, texts or lists
    of texts, none for pictures alone; part.id_column: that of the pictures' ids, empty for the path of the file without
    .parquet, a slash and the row, from 0 on: data/train-00000-of-00012/000000017.

    A picture's path leads into the file; where its row has no bytes, but a path, to that file beside the Parquet file. Columns of
    pictures are read only where a file's statistics do not tell which rows have bytes. Raises SourceError for a file that can't be
    read, lacks a column, or is of a split of which files are missing.
    """
    files = [_columns(root, path, part) for path in _paths(root, part.images, part.parquet)]
    images: dict[str, tuple[str, None, None]] = {}
    faults: list[Fault] = []
    left_out: set[tuple[str, int]] = set()
    for file in progress(files, description="reading what Parquet files list", unit="file"):
        for row, image_id, entry in _pictures(root, file, bool(part.image_column)):
            if not isinstance(entry, Fault) and image_id in images:
                detail = f"{_where(root, file, row)}: the {file.id} {image_id} stood before; give each picture its own"
                entry = Fault(image_id, "repeated_id", detail, f"{file.path}#{row}")
            if isinstance(entry, Fault):
                faults.append(entry)
                left_out.add((file.path, row))
            else:
                images[image_id] = (entry, None, None)
    if not images:
        first = f"; the first row that can't be used: {faults[0].detail}" if faults else ""
        raise SourceError(f"{root / part.images}: no file of {part.parquet} holds a picture that can be used{first}")
    return Part(images, _captions(root, files, left_out), (), faults=faults)


def _paths(root: Path, folder: str, pattern: str) -> list[str]:
    """The paths of the files, relative to root, in order."""
    if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
        raise SourceError(
            f"ingest: parquet {pattern!r} leads out of the folder of the files; wanted a pattern as data/*.parquet"
        )
    found = sorted(file.relative_to(root).as_posix() for file in (root / folder).glob(pattern))
    if not found:
        raise SourceError(
            f"{root / folder} holds no {pattern}; set images to the folder of the files, and parquet to their names below it"
        )
    for path in found:
        if IN_PARQUET in path:
            raise SourceError(
                f"{root / path} has {IN_PARQUET} in its path, which stands between a file and its row; rename it"
            )
        resolve(root, path)
    _check_splits(root, found, pattern)
    return found


def _check_splits(root: Path, paths: list[str], pattern: str) -> None:
    """Raises SourceError where the files, by their names, are of several splits, or where some of their split are missing and the
    pattern has no digits that would say which are wanted."""
    splits: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if named := _OF_HUB.fullmatch(PurePosixPath(path).name):
            key = str(PurePosixPath(path).with_name(named["split"])), int(named["count"])
            splits.setdefault(key, set()).add(int(named["number"]))
    names = {PurePosixPath(split).name for split, _ in splits}
    if len(names) > 1:
        raise SourceError(
            f"ingest: parquet {pattern!r} takes the splits {', '.join(sorted(names))} together: name one, as {min(names)}-*.parquet"
        )
    for (split, count), numbers in splits.items():
        lacking = [f"{split}-{i:05d}-of-{count:05d}.parquet" for i in range(count) if i not in numbers]
        if lacking and not any(letter.isdigit() or letter == "[" for letter in pattern):
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            raise SourceError(
                f"{', '.join(str(root / path) for path in lacking[:_SHOWN])}{more} of {count} files are not there: fetch them, or "
                f"say in ingest's parquet which are wanted, as {PurePosixPath(split).name}-0000[0-3]-*.parquet"
            )


def _columns(root: Path, path: str, part) -> _File:
    """Which columns of a file are wanted. Raises SourceError where one is missing or of another kind."""
    file = root / path
    check_regular(file)
    with parquet_errors(file), pq.ParquetFile(readable(file)) as table:
        schema = table.schema_arrow
    image = image_column(file, schema, part.image_column)
    texts = [name for name in schema.names if _is_text(schema.field(name).type)]
    for name in part.caption_columns:
        if name not in texts:
            what = (
                f"holds {schema.field(name).type}, no text or list of texts" if name in schema.names else "is not there"
            )
            raise SourceError(
                f"{file}: the column of captions {name} {what}; name those that hold captions in ingest's caption_columns, of "
                f"{', '.join(texts) or 'which it has none'} (none, as [], for pictures alone)"
            )
    if part.id_column and part.id_column not in schema.names:
        raise SourceError(
            f"{file}: the column of ids {part.id_column} is not there; name one of {', '.join(schema.names)} in ingest's "
            "id_column, or leave it empty"
        )
    return _File(path, image, part.id_column or None, list(part.caption_columns))


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts, or lists of texts."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _rows(root: Path, file: _File, columns: list[str]) -> Iterator[tuple[int, dict]]:
    """(its number, from 0 on; its cells) of each row of a file."""
    number = 0
    with parquet_errors(root / file.path), pq.ParquetFile(readable(root / file.path), pre_buffer=False) as table:
        for batch in table.iter_batches(_BATCH, columns=columns):
            batch.validate(full=True)
            for row in batch.to_pylist() if columns else [{}] * batch.num_rows:
                yield number, row
                number += 1


def _image_id(file: _File, number: int, row: dict) -> str:
    """Raises ValueError for an id that is none."""
    return text_id(row[file.id]) if file.id else f"{file.path.removesuffix('.parquet')}/{number:09d}"


def _where(root: Path, file: _File, row: int) -> str:
    return f"{root / file.path}, row {row}"


def _pictures(root: Path, file: _File, named: bool) -> Iterator[tuple[int, str, str | Fault]]:
    """(row, image id, path of its picture or what is wrong with it) of each row of a file."""
    with parquet_errors(root / file.path), pq.ParquetFile(readable(root / file.path)) as table:
        groups = [lacks_bytes(table, group, file.image) for group in range(table.num_row_groups)]
        kind = table.schema_arrow.field(file.image).type
        is_plain = not pa.types.is_struct(kind)
        has_path = not is_plain and kind.get_field_index("path") >= 0
    without = np.concatenate([np.zeros(0, bool), *groups])
    columns = [f"{file.image}.path"] * (has_path and bool(without.any())) + [file.id] * bool(file.id)
    for number, row in _rows(root, file, columns):
        image_id, fault = "", None
        try:
            image_id = _image_id(file, number, row)
        except ValueError as error:
            fault = "bad_row", f"column {file.id}: {error}"
        entry = file.in_picture(number, named)
        if not fault and without[number]:
            path = (row.get(file.image) or {}).get("path")
            entry = str(PurePosixPath(file.path).parent / path) if path else ""
            fault = None if path else ("no_picture", f"{file.image} holds neither bytes nor a path")
        if fault:
            reason, detail = fault
            told = f"{_where(root, file, number)}: {detail}"
            if reason == "no_picture" and is_plain:  # as img2dataset leaves what it could not fetch
                yield number, image_id, Missing(image_id, reason, told)
            else:
                yield number, image_id, Fault(image_id, reason, told, f"{file.path}#{number}")
        else:
            yield number, image_id, entry


def _captions(root: Path, files: list[_File], left_out: set[tuple[str, int]]) -> Iterator[dict | Fault]:
    """The captions of all pictures, a file after the other, or why one has none."""
    for file in files if any(file.captions for file in files) else ():
        columns = list(dict.fromkeys([*file.captions, *[file.id] * bool(file.id)]))
        for number, row in _rows(root, file, columns):
            if (file.path, number) in left_out:
                continue
            image_id = _image_id(file, number, row)
            cells = [row[name] for name in file.captions]
            texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
            words = [(i, text.strip()) for i, text in enumerate(texts) if text and text.strip()]
            if not words:
                detail = f"{_where(root, file, number)} has no words in {', '.join(file.captions)}"
                yield Fault(image_id, "empty_caption", detail)
            single = len(cells) == 1 and not isinstance(cells[0], list)
            for i, text in words:
                yield {"image_id": image_id, "caption_id": image_id if single else f"{image_id}/{i}", "text": text}
