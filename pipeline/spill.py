"""Rows that come in any order to tables split by image and sorted by key, in the memory of one shard.

Rows wait in memory until they are so many bytes, whatever the number of shards; then they go into a file, shard by shard, as a
record batch of each (an external bucket sort).
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.job import Job
from schemas.tables import TABLES
from store.parquet import check_columns, rows_to_table

_GROUP = 1024  # rows that wait as Python's values
_HELD = 1 << 20  # bytes that wait at least
_OF_SHARD = 2048  # bytes of a record batch, about, where shards are many


class _Run(NamedTuple):
    """Where the record batches of a run are in the file. shards: whose they are, ascending; starts, sizes: bytes [n]."""

    shards: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


class Spill:
    """A file in the job's scratch folder that `write` sorts into the table's own. A context manager."""

    def __init__(self, job: Job, table: str):
        self._job, self._table, self._rules = job, table, TABLES[table]
        self._path = job.scratch / f"{table}.spill"
        self._most = max(_HELD, _OF_SHARD * job.shards)
        self._rows: list[dict] = []
        self._shards: list[int] = []
        self._waiting: list[tuple[pa.Table, np.ndarray]] = []
        self._runs: list[_Run] = []

    def __enter__(self) -> "Spill":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        self._path.unlink()

    def add(self, shard: int, row: dict) -> None:
        """Keep a row of the table for its shard. Raises SchemaError, now or when it is written."""
        check_columns(row, self._rules.schema)
        self._rows.append(row)
        self._shards.append(shard)
        if len(self._rows) >= _GROUP:
            self._pack()
            if sum(table.nbytes for table, _ in self._waiting) >= self._most:
                self._flush()

    def _pack(self) -> None:
        """Rows become a table, which is a fraction of the size."""
        if self._rows:
            self._waiting.append((rows_to_table(self._rows, self._rules.schema), np.array(self._shards)))
            self._rows, self._shards = [], []

    def _flush(self) -> None:
        """Write what waits as a run."""
        if not self._waiting:
            return
        tables, shards = zip(*self._waiting)
        self._waiting = []
        shards = np.concatenate(shards)
        order = np.argsort(shards, kind="stable")
        table = pa.concat_tables(tables).take(order).combine_chunks()
        own, firsts = np.unique(shards[order], return_index=True)
        starts, sizes = [], []
        for first, end in zip(firsts, [*firsts[1:], len(table)]):
            [batch] = table.slice(first, end - first).to_batches()
            starts.append(self._file.tell())
            sizes.append(self._file.write(batch.serialize()))
        self._runs.append(_Run(own, np.array(starts), np.array(sizes)))

    def _of_shard(self, shard: int) -> pa.Table:
        """The rows of a shard, in the order in which they came."""
        batches = []
        for run in self._runs:
            place = int(np.searchsorted(run.shards, shard))
            if place < len(run.shards) and run.shards[place] == shard:
                self._file.seek(run.starts[place])
                content = pa.py_buffer(self._file.read(run.sizes[place]))
                batches.append(pa.ipc.read_record_batch(content, self._rules.schema))
        return pa.Table.from_batches(batches, self._rules.schema)

    def write(self, unique: bool = False) -> None:
        """Write the table's shards, sorted by key; unique: equal rows once. Of rows with one key the first is written, the
        others are rejects."""
        self._pack()
        self._flush()
        for shard in range(self._job.shards):
            table = self._of_shard(shard)
            if unique:
                table = table.group_by(table.column_names).aggregate([])
            table = table.sort_by([(name, "ascending") for name in self._rules.key])
            repeated = table.select(self._rules.key).to_pandas().duplicated().to_numpy()
            if repeated.any():
                for row in table.select(self._rules.key).filter(pa.array(repeated)).to_pylist():
                    image_id, *key = row.values()
                    self._job.reject(image_id, "repeated_id", f"another row of {self._table} has this id", *key)
                table = table.filter(pa.array(~repeated))
            with self._job.writer(self._table, str(shard)) as out:
                out.add_table(table)
