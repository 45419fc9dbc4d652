"""Tables: round trips and refusals."""

import os
import resource

import numpy as np
import pyarrow as pa
import pytest

from store.parquet import SchemaError, TableWriter, open_table, read_rows, read_table
from structures.errors import UserError


def test_rows_survive_the_round_trip(tmp_path):
    columns = {
        "name": pa.string(),
        "boxes": pa.list_(pa.list_(pa.float32(), 4)),
        "box": pa.list_(pa.float32(), 4),
        "map": pa.list_(pa.float16()),
    }
    schema_ = pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    rng = np.random.default_rng(0)
    rows = [
        {
            "name": str(i),
            "boxes": list(rng.random((i % 4, 4), dtype=np.float32)),
            "box": rng.random(4, dtype=np.float32),
            "map": rng.random(i % 3).astype(np.float16),
        }
        for i in range(11)
    ]
    writer = TableWriter(tmp_path / "t.parquet", schema_, row_group=4)
    for row in rows:
        writer.add(**row)
    writer.close()
    back = list(read_rows([tmp_path / "t.parquet"], batch=3))
    assert [row["name"] for row in back] == [row["name"] for row in rows]
    for wrote, read in zip(rows, back):
        np.testing.assert_array_equal(np.array(wrote["boxes"], np.float32).reshape(-1, 4), read["boxes"])
        np.testing.assert_array_equal(wrote["box"], read["box"])
        np.testing.assert_array_equal(wrote["map"], read["map"])
        assert read["map"].dtype == np.float16


@pytest.mark.parametrize("row", [{"a": "x"}, {"a": None, "b": 1}, {"a": "x", "b": "y"}, {"a": "x", "b": 1, "c": 2}])
def test_a_row_that_does_not_fit_is_refused(tmp_path, row):
    fields = [pa.field("a", pa.string(), nullable=False), pa.field("b", pa.int32(), nullable=False)]
    writer = TableWriter(tmp_path / "t.parquet", pa.schema(fields), row_group=1)
    with pytest.raises(SchemaError):
        writer.add(**row)


def test_rows_and_tables_of_any_size_give_the_same_bytes(tmp_path):
    schema = pa.schema(
        [pa.field("i", pa.int32(), nullable=False), pa.field("v", pa.list_(pa.float32()), nullable=False)]
    )
    rows = [{"i": i, "v": [float(i)] * (i % 3)} for i in range(70)]

    def written(name, pieces):
        writer = TableWriter(tmp_path / name, schema, 16)
        for piece in pieces:
            if isinstance(piece, dict):
                writer.add(**piece)
            else:
                writer.add_table(pa.Table.from_pylist(piece, schema=schema))
        writer.close()
        return (tmp_path / name).read_bytes()

    one_by_one = written("a", rows)
    assert written("b", [rows]) == one_by_one
    assert written("c", [rows[:5], *rows[5:9], rows[9:50], rows[50:]]) == one_by_one
    with pytest.raises(SchemaError, match="null values"):
        TableWriter(tmp_path / "d", schema, 16).add_table(pa.table({"i": pa.array([None], pa.int32()), "v": [[1.0]]}))


def test_a_bit_that_flipped_in_a_page_is_found_whenever_it_is_read(tmp_path):
    """Random numbers are kept as they are, so that nothing but a checksum knows them from others."""
    path, numbers = tmp_path / "t.parquet", np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 256)
    writer = TableWriter(path, pa.schema([("x", pa.int64())]), row_group=256)
    for number in numbers:
        writer.add(x=number)
    writer.close()
    content = bytearray(path.read_bytes())
    content[content.index(numbers[100].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not hold what was written"):
        list(read_rows([path]))
    with pytest.raises(UserError, match="does not hold what was written"):
        read_table(path)


def test_too_many_open_files_are_no_broken_file(tmp_path, monkeypatch):
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", lambda *_, **__: os.open(tmp_path, os.O_RDONLY))
    paths, opened = [tmp_path / "x.parquet"] * 1000, []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with pytest.raises(UserError, match=r"x\.parquet: too many files are open at once; raise the limit"):
            for path in paths:
                opened.append(open_table(path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in opened:
            os.close(descriptor)
