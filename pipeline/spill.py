"""Rows that come in any order to tables split by image and sorted by key, in the memory of one shard."""

import pyarrow as pa

from pipeline.job import Job
from schemas.tables import TABLES
from store.parquet import TableWriter, read_table

_GROUP = 4096


class Spill:
    """Files in the job's scratch folder, one a shard, that `write` sorts into the table's own. A context manager."""

    def __init__(self, job: Job, table: str):
        self._job, self._table, self._rules = job, table, TABLES[table]
        self._folder = job.scratch / table
        self._writers: list[TableWriter] = []

    def __enter__(self) -> "Spill":
        self._folder.mkdir(parents=True, exist_ok=True)
        for shard in range(self._job.shards):
            self._writers.append(TableWriter(self._path(shard), self._rules.schema, _GROUP))
        return self

    def __exit__(self, *_) -> None:
        for shard, writer in enumerate(self._writers):
            writer.close()
            self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: int):
        return self._folder / f"{shard}.parquet"

    def add(self, shard: int, row: dict) -> None:
        """Keep a row of the table for its shard."""
        self._writers[shard].add(**row)

    def write(self, unique: bool = False) -> None:
        """Write the table's shards, sorted by key; unique: equal rows once. Of rows with one key the first is written, the
        others are rejects."""
        for shard, writer in enumerate(self._writers):
            writer.close()
            table = read_table(self._path(shard))
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
