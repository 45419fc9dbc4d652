"""Tables on disk: written row by row in bounded memory and checked against their schema, read back in batches.

Every page is written with its checksum, which is verified whenever it is read, also hours after the file was checked.
"""

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.blobs import check_content
from structures.errors import UserError

_BUFFER = 1024  # rows that wait as Python's values


class SchemaError(ValueError):
    """A row that does not fit the table."""


def check_columns(row: dict, schema: pa.Schema) -> None:
    """Raises SchemaError where a row lacks a column, or has another."""
    if row.keys() != set(schema.names):
        wrong = sorted(row.keys() ^ set(schema.names))
        raise SchemaError(f"columns {wrong} are missing or unknown; wanted: {schema.names}")


def rows_to_table(rows: list[dict], schema: pa.Schema) -> pa.Table:
    """Rows, each with every column of a table, as that table. Raises SchemaError."""
    try:
        columns = [_column(rows, field) for field in schema]
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(f"a row does not fit the table's schema: {error}") from error
    return pa.table(columns, schema=schema)


def _column(rows: list[dict], field: pa.Field) -> pa.Array:
    array = pa.array([row[field.name] for row in rows], type=field.type)
    array.validate(full=True)
    if array.null_count and not field.nullable:
        raise SchemaError(f"column {field.name} has {array.null_count} empty values")
    return array


class TableWriter:
    """Rows to one Parquet file (zstd). Row groups have a fixed number of rows, so equal rows give equal bytes."""

    def __init__(self, path: Path, schema: pa.Schema, row_group: int):
        self.schema, self.row_group = schema, row_group
        self.rows = 0
        self._buffer: list[dict] = []
        self._waiting = schema.empty_table()
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", store_schema=True, write_page_checksum=True)

    def add(self, **row) -> None:
        """Write one row; every column of the table, nothing else. Raises SchemaError."""
        check_columns(row, self.schema)
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) >= min(self.row_group, _BUFFER):
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        """Write the rows of a table that has the schema's columns, in their order. Raises SchemaError."""
        try:
            table = table.cast(self.schema)
            table.validate(full=True)
        except (pa.ArrowException, ValueError) as error:
            raise SchemaError(f"a table does not fit the schema: {error}") from error
        self._flush()
        self.rows += len(table)
        self._wait(table)

    def _flush(self) -> None:
        """Rows that were added one by one join those that wait to be written."""
        if not self._buffer:
            return
        table = rows_to_table(self._buffer, self.schema)
        self._buffer = []
        self._wait(table)

    def _wait(self, table: pa.Table) -> None:
        """Rows join those that wait; whole row groups are written."""
        self._waiting = pa.concat_tables([self._waiting, table])
        self._write(len(self._waiting) - len(self._waiting) % self.row_group)

    def _write(self, rows: int) -> None:
        """Write so many of the waiting rows."""
        if rows:
            self._writer.write_table(self._waiting.slice(0, rows).combine_chunks(), row_group_size=self.row_group)
            self._waiting = self._waiting.slice(rows).combine_chunks()

    def close(self) -> None:
        """Write what is left; closing twice does no harm."""
        self._flush()
        self._write(len(self._waiting))
        self._writer.close()


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole table of one file. Raises UserError where it does not hold what was written."""
    with open_table(path) as file, told(path):
        return file.read(columns)


def read_folder(folder: Path) -> pa.Table:
    """The table of a run, of all its files, each of which is checked whole. Raises UserError where one is broken."""
    files = sorted(folder.glob("*.parquet"))
    for file in files:
        check_content(file)
    return pa.concat_tables([read_table(file) for file in files])


def read_rows(
    paths: Iterable[Path],
    columns: list[str] | None = None,
    batch: int = 256,
    where: dict[str, Collection[str]] | None = None,
) -> Iterator[dict]:
    """The rows of Parquet files, one after another, as dicts of Python values and (for lists of numbers) arrays. where:
    {column, which is read: the texts, one of which it holds} of the rows that are wanted. Raises UserError where a file does not hold what was
    written."""
    wanted = {name: pa.array(sorted(values), pa.string()) for name, values in (where or {}).items()}
    for path in paths:
        with open_table(path) as file:
            parts = file.iter_batches(batch_size=batch, columns=columns)
            while True:
                with told(path):
                    part = next(parts, None)
                if part is None:
                    break
                for name, values in wanted.items():
                    part = part.filter(pc.is_in(part.column(name), values))
                yield from rows_of(part)


def chains(paths: Sequence[Path]) -> list[list[int]]:
    """The numbers of a table's files, each sorted by image_id, in chains that are sorted when read one file after the other:
    one chain where shards are runs of images, so that one file is open at a time; else one for each file."""
    ranges = sorted((*span, number) for number, path in enumerate(paths) if (span := _image_range(path)))
    if all(before[1] < after[0] for before, after in pairwise(ranges)):
        return [[number for *_, number in ranges]]
    return [[number] for *_, number in sorted(ranges, key=itemgetter(2))]


@lru_cache(maxsize=100_000)
def _image_range(path: Path) -> tuple[str, str] | None:
    """The first and the last image_id of a file; None of one without rows."""
    with open_table(path) as file:
        if not file.metadata.num_rows:
            return None
        with told(path):
            first, last = (
                file.read_row_group(group, ["image_id"], use_threads=False).column(0)
                for group in (0, file.num_row_groups - 1)
            )
        return first[0].as_py(), last[-1].as_py()


def rows_of(part: pa.RecordBatch) -> Iterator[dict]:
    """The rows of a batch as dicts of Python values and (for lists of numbers) arrays."""
    cells = {name: _cells(part.column(name)) for name in part.schema.names}
    for i in range(part.num_rows):
        yield {name: values[i] for name, values in cells.items()}


def open_table(path: Path) -> pq.ParquetFile:
    """A file of a table, whose checksums are verified in reading. Raises UserError."""
    with told(path):
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Says of which file pyarrow can't read what. Raises UserError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise UserError(f"{path}: too many files are open at once; raise the limit (`ulimit -n 65536`)") from error
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} does not hold what was written ({reason}); run `python -m store verify --repair`, then snakemake again"
        ) from error


def _cells(column: pa.Array) -> list:
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return list(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size))
    if pa.types.is_list(kind) and not pa.types.is_string(kind.value_type):
        flat = column.flatten()
        if pa.types.is_fixed_size_list(flat.type):
            values = flat.flatten().to_numpy(zero_copy_only=False).reshape(-1, flat.type.list_size)
        else:
            values = flat.to_numpy(zero_copy_only=False)
        offsets = column.offsets.to_numpy() - column.offsets[0].as_py()
        return np.split(values, offsets[1:-1]) if len(column) else []
    return column.to_pylist()
