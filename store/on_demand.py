"""Rows of tables that are split by image, read when somebody asks for an image, a row group at a time.

In memory is where the rows of each item lie: nine bytes a table, twelve where it has more than 256 files.
"""

import heapq
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from store.parquet import chains, open_table, read_rows, rows_of, told

_OPEN_FILES = 16  # of one table
PLACE = "_place"  # of a row, among placed_rows: (number of its file, its number there)


def placed_rows(paths: Sequence[Path], columns: list[str] | None) -> Iterator[dict]:
    """The rows of a table's files, each sorted by image_id, in the order of image_id; each row with its PLACE."""

    def of_files(numbers: list[int]) -> Iterator[dict]:
        for number in numbers:
            for i, row in enumerate(read_rows([paths[number]], columns)):
                row[PLACE] = number, i
                yield row

    return heapq.merge(*map(of_files, chains(paths)), key=itemgetter("image_id"))


class RowsOnDemand(Sequence):
    """A sequence whose items are lists of rows, one a table: what `add` was given, read anew whenever it is asked for.

    tables: of each its files, and the columns that are read (None: all). Files may be asked for in other processes than
    the one that began. Reading raises UserError where a file does not hold what was written.
    """

    def __init__(self, tables: Sequence[tuple[Sequence[Path], list[str] | None]]):
        self._tables = [_Table(paths, columns) for paths, columns in tables]

    def add(self, *placed: list[dict]) -> None:
        """Append an item. placed: of each table rows that placed_rows gave one after the other, of one file."""
        for table, rows in zip(self._tables, placed, strict=True):
            table.add(rows)

    def __len__(self) -> int:
        return len(self._tables[0].counts)

    def __getitem__(self, index: int) -> tuple[list[dict], ...]:
        return tuple(table.rows(index) for table in self._tables)


class _Table:
    """Where the rows of each item lie in a table's files."""

    def __init__(self, paths: Sequence[Path], columns: list[str] | None):
        self._paths, self._columns = paths, columns
        self._files = array("B" if len(paths) <= 256 else "I")
        self._firsts, self.counts = array("I"), array("I")
        self._opened: OrderedDict[int, tuple[pq.ParquetFile, np.ndarray]] = OrderedDict()
        self._process = os.getpid()

    def add(self, rows: list[dict]) -> None:
        file, first = rows[0][PLACE] if rows else (0, 0)
        self._files.append(file)
        self._firsts.append(first)
        self.counts.append(len(rows))

    def rows(self, index: int) -> list[dict]:
        number, first, left = self._files[index], self._firsts[index], self.counts[index]
        rows: list[dict] = []
        if not left:
            return rows
        file, starts = self._open(number)
        group = int(np.searchsorted(starts, first, side="right")) - 1
        while left > 0:  # an image's rows may go on in the next row group
            with told(self._paths[number]):
                part = file.read_row_group(group, self._columns, use_threads=False)
            part = part.slice(max(0, first - int(starts[group])), left)
            for batch in part.to_batches():
                rows += rows_of(batch)
            left -= len(part)
            group += 1
        return rows

    def _open(self, number: int) -> tuple[pq.ParquetFile, np.ndarray]:
        """A file, and the number of the first row of each of its row groups."""
        if self._process != os.getpid():  # a worker process has files of its own
            self._process, self._opened = os.getpid(), OrderedDict()
        if number not in self._opened:
            file = open_table(self._paths[number])
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            self._opened[number] = file, np.cumsum([0, *sizes[:-1]])
            if len(self._opened) > _OPEN_FILES:
                self._opened.popitem(last=False)
        self._opened.move_to_end(number)
        return self._opened[number]
