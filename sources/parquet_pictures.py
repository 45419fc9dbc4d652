"""Pictures in Parquet files, read in place: a column of structs of bytes and path, as Hugging Face `datasets` stores them, or
of bytes alone, as img2dataset does.

A row is found by its row group, of which as little is decoded as leads to it; what was decoded last is kept, so that the rows
of a file in their order cost each page once.
"""

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sources.part import SourceError
from sources.tables import distinct, parquet_errors
from structures.addresses import Address
from structures.json_texts import parse_json

IN_PARQUET = ".parquet#"  # between a file and its row, in the path of a picture
_BATCH = 16  # rows that are decoded at once
_KEPT = 32 << 20  # bytes of decoded rows that are kept of a row group
_GROUPS = 4  # row groups of which a process keeps rows
_READ = 1 << 20  # bytes of a file that are read at once


def path_of(file: str, row: int, column: str = "") -> str:
    """The path of the picture in a row, counted from 0, of a file whose path ends in .parquet: FILE.parquet#000000017, or
    FILE.parquet#000000017/COLUMN where the file has several columns of pictures. Sorted, rows are in order."""
    return f"{file}#{row:09d}" + (f"/{column}" if column else "")


def image_column(file: Path, schema: pa.Schema, wanted: str = "") -> str:
    """The column of pictures of a file: the one `wanted`, or the only one. Columns of pictures are those that the features of
    `datasets`, in the schema's metadata, say are; where there are no such features, structs that hold bytes or a path; and,
    where it is wanted by name, one of plain bytes.

    Raises SourceError where there is none, or where there are several and none is wanted.
    """
    distinct(file, schema.names)
    features = _features(file, schema)
    found = [name for name in schema.names if _is_struct(schema.field(name).type)]
    if features is not None:
        found = [name for name in found if _kind(features.get(name)) == "Image"]
    plain = [name for name in schema.names if _is_binary(schema.field(name).type)]
    if wanted and wanted not in found + plain:
        there = "is no column of pictures" if wanted in schema.names else "is not there"
        raise SourceError(
            f"{file}: the column {wanted} {there}; pictures stand in {', '.join(found + plain) or 'none'} of {', '.join(schema.names)}"
        )
    if not found and not wanted:
        remedy = "load it with `datasets`, cast the column to Image() and write it with to_parquet"
        if plain:
            remedy = f"if {' or '.join(plain)} holds pictures' bytes, name it in ingest's image_column"
        raise SourceError(
            f"{file} has no column of pictures, with bytes or a path as `datasets` stores an Image, among "
            f"{', '.join(schema.names) or 'none'}: {remedy}"
        )
    if not wanted and len(found) > 1:
        raise SourceError(f"{file} has the columns of pictures {', '.join(found)}: name one in ingest's image_column")
    return wanted or found[0]


def _features(file: Path, schema: pa.Schema) -> dict | None:
    """What the metadata of `datasets` says of each column; None where it says nothing."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        features = parse_json(text)["info"]["features"]
    except (ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{file}: its metadata `huggingface` is not what `datasets` writes ({error!r})") from error
    if features is not None and not isinstance(features, dict):
        raise SourceError(f"{file}: its metadata `huggingface` has features that are no object")
    return features


def _kind(feature: object) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _is_struct(kind: pa.DataType) -> bool:
    """Whether a column can hold pictures: structs of bytes, path, or both, and nothing of another kind."""
    if not pa.types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    wanted = {"bytes": _is_binary, "path": _is_text}
    return bool(fields.keys() & wanted.keys()) and all(
        name in wanted and (wanted[name](of) or pa.types.is_null(of)) for name, of in fields.items()
    )


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_plain(table: pq.ParquetFile, column: str) -> bool:
    """Whether a column of pictures holds bytes, and no structs."""
    return not pa.types.is_struct(table.schema_arrow.field(column).type)


def _leaf(table: pq.ParquetFile, column: str) -> str:
    """What the column that holds the pictures' bytes is called in the file."""
    return column if _is_plain(table, column) else f"{column}.bytes"


def lacks_bytes(table: pq.ParquetFile, group: int, column: str) -> np.ndarray:
    """[rows] bool of a row group: which rows of a column of pictures hold no bytes. The file's statistics tell, unless they
    differ within the group; then the bytes are read. Raises what Arrow does for a damaged file."""
    rows = table.metadata.row_group(group)
    leaf = _leaf(table, column)
    chunks = [rows.column(i) for i in range(rows.num_columns) if rows.column(i).path_in_schema == leaf]
    if not chunks:
        return np.ones(rows.num_rows, bool)
    statistics = chunks[0].statistics
    if statistics is not None and statistics.has_null_count and statistics.null_count in (0, rows.num_rows):
        return np.full(rows.num_rows, statistics.null_count > 0)
    lacking = [contents.is_null() for contents in _contents(table, group, column)]
    return np.concatenate([np.zeros(0, bool), *(of_batch.to_numpy(zero_copy_only=False) for of_batch in lacking)])


def _contents(table: pq.ParquetFile, group: int, column: str) -> Iterator[pa.Array]:
    """The bytes of a row group's pictures, so many rows at a time, null where a row holds none."""
    is_plain = _is_plain(table, column)
    for batch in table.iter_batches(_BATCH, row_groups=[group], columns=[_leaf(table, column)], use_threads=False):
        batch.validate(full=True)
        yield batch.column(0) if is_plain else pc.struct_field(batch.column(0), "bytes")


def readable(file: Path | Address) -> Path | BinaryIO:
    """A file as pyarrow reads it."""
    return file.open("rb") if isinstance(file, Address) else file


class _Group:
    """The pictures of one row group, decoded from its start on; the last ones are kept."""

    def __init__(self, file: Path | Address, group: int, column: str):
        self._file, self._group, self._column = file, group, column
        self._lock = Lock()  # stages read pictures in several threads
        self._restart()

    def _restart(self) -> None:
        table = pq.ParquetFile(readable(self._file), buffer_size=_READ, pre_buffer=False)
        self._coming = _contents(table, self._group, self._column)
        self._kept: deque[pa.Array] = deque()
        self._first = self._behind = self._bytes = 0  # the rows that are kept, and their bytes

    def picture(self, row: int) -> pa.Scalar:
        """The bytes of a row's picture, null where it holds none. Raises ValueError where the rows end before."""
        with self._lock:
            if row < self._first:
                self._restart()
            while row >= self._behind:
                contents = next(self._coming, None)
                if contents is None:
                    raise ValueError(f"its row group {self._group} ends after {self._behind} rows")
                self._keep(contents)
            place = row - self._first
            for contents in self._kept:
                if place < len(contents):
                    break
                place -= len(contents)
            return contents[place]

    def _keep(self, contents: pa.Array) -> None:
        self._kept.append(contents)
        self._behind += len(contents)
        self._bytes += contents.nbytes
        while self._bytes > _KEPT and len(self._kept) > 1:
            oldest = self._kept.popleft()
            self._first += len(oldest)
            self._bytes -= oldest.nbytes


@lru_cache(maxsize=64)
def _starts(file: Path | Address, *state: int | str) -> tuple[np.ndarray, pa.Schema]:
    """[groups + 1] the row with which each row group of a file starts, the number of rows last; and its schema."""
    with pq.ParquetFile(readable(file)) as table:
        rows = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        return np.cumsum([0, *rows]), table.schema_arrow


@lru_cache(maxsize=_GROUPS)
def _group(file: Path | Address, group: int, column: str, *state: int | str) -> _Group:
    return _Group(file, group, column)


def read_picture(file: Path | Address, name: str, most: int) -> bytes:
    """The content of a picture in a Parquet file; name: as behind the # of `path_of`.

    Files are opened once a process, and anew where their size or time changed. Raises KeyError where there is no such row, or it
    holds no bytes, OverflowError where it has more than `most` bytes, OSError, and SourceError for a file that is damaged.
    """
    if isinstance(file, Address):
        state = tuple(file.state())
    else:
        status = file.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    row, _, column = name.partition("/")
    with parquet_errors(file):
        starts, schema = _starts(file, *state)
        if not (row.isascii() and row.isdecimal() and int(row) < starts[-1]):
            raise KeyError(name)
        group = int(np.searchsorted(starts, int(row), side="right")) - 1
        pictures = _group(file, group, image_column(file, schema, column), *state)
        picture = pictures.picture(int(row) - int(starts[group]))
    if not picture.is_valid:
        raise KeyError(name)
    if picture.as_buffer().size > most:
        raise OverflowError(picture.as_buffer().size)
    return picture.as_py()
