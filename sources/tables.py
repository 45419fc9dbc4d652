"""Tables that users bring: CSV, TSV, JSON lines or Parquet, row by row in bounded memory, each fault with its line."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sources.json_files import check_regular, refuse_compressed
from sources.part import SourceError
from structures.json_texts import parse_json

MAX_LINE = 1 << 20  # characters; a longer line is no row of captions
REMEDY = "set the ingest section of the config to the data set's files"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # at a file's start; else it is UTF-8, with or without a mark
_BATCH = 1024
_TOO_LONG = "a text is too long, or a quote is opened and not closed"


@dataclass
class Table:
    """columns: names; rows(): (where it stands, its cells by column, or what is wrong with it) of each row, in order."""

    columns: list[str]
    rows: Callable[[], Iterator[tuple[str, dict | str]]]


def read_table(file: Path) -> Table:
    """The table in a .csv, .tsv, .jsonl, .ndjson or .parquet file. Raises SourceError, also while its rows are read."""
    readers = {
        ".csv": csv_table,
        ".tsv": _tsv,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".parquet": parquet_table,
    }
    kind = file.suffix.lower()
    if kind not in readers:
        raise SourceError(f"{file}: wanted a table as {', '.join(readers)}")
    return readers[kind](file)


def lines(file: Path, remedy: str = REMEDY) -> Iterator[tuple[int, str]]:
    """(number from 1 on, text with its end) of each line of a text file in UTF-8 or UTF-16. Bytes that are no UTF-8 come as
    surrogates, which sources.part.text_fault finds. remedy: what to do where the file can't be read. Raises SourceError for
    a file or a line that is none."""
    check_regular(file)
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
        refuse_compressed(file, start)
        encoding = _MARKS.get(start, "utf-8-sig")
        with file.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise SourceError(f"{file}, line {number} has more than {MAX_LINE} characters: is it a table?")
                yield number, line
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: {getattr(error, 'strerror', None) or error}; {remedy}") from error


def csv_rows(file: Path, separator: str, remedy: str = REMEDY) -> Iterator[tuple[str, list[str] | str]]:
    """(where it stands, its cells, or what is wrong with it) of each row of a CSV file that is not empty. Raises SourceError
    where a quote is never closed: nobody knows what is a row after it."""
    reader = csv.reader((line for _, line in lines(file, remedy)), delimiter=separator, strict=True)
    first = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = str(error)
            if "field limit" in cells or "end of data" in cells:
                what = "a quote is opened and not closed" if "end of data" in cells else _TOO_LONG
                raise SourceError(f"{file}, line {first}: {what} ({error})") from error
        last = reader.line_num
        where = f"line {first}" if last <= first else f"lines {first} to {last}"
        first = last + 1
        if isinstance(cells, str):
            yield where, f"{cells}: double the quotes inside a text, and put it in quotes"
        elif cells:
            yield where, cells


def csv_table(file: Path, separator: str = ",") -> Table:
    """The table in a CSV file with a line of column names. Raises SourceError, also while its rows are read."""
    header = next(csv_rows(file, separator), (None, None))[1]
    if header is None or isinstance(header, str):
        raise SourceError(f"{file} has no line of column names ({header or 'it is empty'})")
    columns = distinct(file, [name.strip() for name in header])
    named = max((i for i, name in enumerate(columns, start=1) if name), default=0)  # empty ones may follow

    def rows() -> Iterator[tuple[str, dict | str]]:
        found = csv_rows(file, separator)
        next(found)
        for where, cells in found:
            if isinstance(cells, list) and (len(cells) != len(columns) or any(cells[named:])):
                cells = (  # which cell is too much nobody knows, even where an empty one stands at the end
                    f"{len(cells)} cells where the first line has {len(columns)}: put quotes around a text that holds "
                    f"{'tabs' if separator == chr(9) else 'commas'}"
                )
            yield where, cells if isinstance(cells, str) else dict(zip(columns, cells))

    return Table(columns, rows)


def _tsv(file: Path) -> Table:
    return csv_table(file, "\t")


def json_rows(file: Path) -> Iterator[tuple[str, dict | str]]:
    """(where it stands, its object, or what is wrong with it) of each line of a file of JSON lines that is not empty."""
    for number, line in lines(file):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            yield f"line {number}", row if isinstance(row, dict) else f"{line[:40]!r} is no JSON object"
        except ValueError as error:
            yield f"line {number}", f"no JSON ({error})"


def _json_lines(file: Path) -> Table:
    columns = dict.fromkeys(name for _, row in json_rows(file) if isinstance(row, dict) for name in row)
    return Table(list(columns), lambda: json_rows(file))


def parquet_table(file: Path, wanted: tuple[str, ...] = ()) -> Table:
    """The table in a Parquet file; wanted: columns of it that rows hold, those that are there, all where it is empty. Raises
    SourceError, also while its rows are read."""
    check_regular(file)
    with parquet_errors(file), file.open("rb") as stream, pq.ParquetFile(stream) as table:
        columns = distinct(file, table.schema_arrow.names)
    read = [name for name in columns if name in wanted] if wanted else None

    def rows() -> Iterator[tuple[str, dict | str]]:
        number = 0
        with parquet_errors(file), file.open("rb") as stream, pq.ParquetFile(stream, pre_buffer=False) as table:
            for batch in table.iter_batches(_BATCH, columns=read):
                batch.validate(full=True)
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row

    return Table(columns, rows)


class parquet_errors:
    """A context in which what Arrow says of a damaged file becomes one line, a SourceError."""

    def __init__(self, file: Path):
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, pa.ArrowException | OSError | ValueError | OverflowError | MemoryError):
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"{self._file} can't be read as Parquet: {reason}") from error


def distinct(file: Path, columns: list[str]) -> list[str]:
    """The columns' names. Raises SourceError where one stands twice."""
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise SourceError(f"{file} has the column {min(twice)} twice; give each its own name")
    return columns
