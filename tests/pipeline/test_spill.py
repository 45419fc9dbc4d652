"""Rows that come in any order: the same tables whatever is held in memory at once, and no more than that held."""

import random

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline import spill
from pipeline.spill import Spill
from schemas.tables import TABLES
from store.parquet import SchemaError, TableWriter

CAPTIONS = TABLES["captions"]


class SpillingJob:
    """What a spill asks of a job."""

    def __init__(self, folder, shards: int):
        self.scratch, self.shards, self.rejected = folder, shards, []
        folder.mkdir()

    def writer(self, table, shard):
        return _Closing(self.scratch / f"{int(shard):04d}.parquet", TABLES[table])

    def reject(self, *fault):
        self.rejected.append(fault)


class _Closing(TableWriter):
    def __init__(self, file, rules):
        super().__init__(file, rules.schema, rules.row_group)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def rows(count: int) -> list[dict]:
    numbers = random.Random(3)
    ids = [f"{numbers.randrange(10**6):06d}" for _ in range(count)]
    return [{"image_id": i, "caption_id": str(n), "text": f"a cat {n} " * (n % 9)} for n, i in enumerate(ids)]


def written(folder, shards: int) -> tuple[SpillingJob, pd.DataFrame]:
    job = SpillingJob(folder, shards)
    with Spill(job, "captions") as captions:
        for row in rows(5000):
            captions.add(int(row["image_id"]) % shards, row)
        captions.add(0, rows(1)[0] | {"image_id": "000000", "text": "the first"})
        captions.add(0, rows(1)[0] | {"image_id": "000000", "text": "another of this id"})
        captions.write()
    return job, [pq.read_table(file).to_pandas() for file in sorted(folder.glob("*.parquet"))]


@pytest.mark.parametrize("held", [1000, 1 << 18])
def test_each_shard_has_its_rows_sorted_whatever_is_held_at_once(tmp_path, monkeypatch, held):
    monkeypatch.setattr(spill, "_HELD", held)
    monkeypatch.setattr(spill, "_OF_SHARD", 0)
    monkeypatch.setattr(spill, "_GROUP", 100)
    job, shards = written(tmp_path / "spilled", 70)
    assert len(shards) == 70 and sum(map(len, shards)) == 5001
    expected = pd.DataFrame([*rows(5000), {"image_id": "000000", "caption_id": "0", "text": "the first"}])
    for number, shard in enumerate(shards):
        own = expected[expected.image_id.astype(int) % 70 == number].sort_values(["image_id", "caption_id"])
        assert shard.values.tolist() == own.values.tolist()
    assert job.rejected == [("000000", "repeated_id", "another row of captions has this id", "0")]
    assert not list((tmp_path / "spilled").glob("*.spill"))


def test_a_thousand_shards_hold_no_more_than_one(tmp_path, monkeypatch):
    """Rows that are held are counted, in bytes, each time that they are written."""
    monkeypatch.setattr(spill, "_HELD", 1 << 16)
    monkeypatch.setattr(spill, "_OF_SHARD", 0)
    monkeypatch.setattr(spill, "_GROUP", 64)
    held = []
    flush = Spill._flush

    def counted(self):
        held.append(sum(table.nbytes for table, _ in self._waiting))
        flush(self)

    monkeypatch.setattr(Spill, "_flush", counted)
    for shards in (1, 1000):
        written(tmp_path / str(shards), shards)
    assert len(held) >= 10 and max(held) < 2 * (1 << 16)


def test_a_row_that_does_not_fit_the_table_is_told(tmp_path):
    with Spill(SpillingJob(tmp_path / "x", 1), "captions") as captions:
        with pytest.raises(SchemaError, match="missing or unknown"):
            captions.add(0, {"image_id": "1", "text": "a cat"})
        captions.add(0, {"image_id": "1", "caption_id": "1", "text": None})
        with pytest.raises(SchemaError, match="empty values"):
            captions.write()
