"""Tables sorted on disk."""

import random

import pyarrow as pa
import pyarrow.parquet as pq

from store.sort import sort_rows


def test_rows_come_sorted_and_of_equal_ones_in_the_order_of_the_files(tmp_path, monkeypatch):
    """In many parts, by two columns, with letters beyond ASCII."""
    monkeypatch.setattr("store.sort._TOGETHER", 7)
    rng, rows, paths = random.Random(4), [], []
    for i in range(3):
        of_file = [
            {"image_id": rng.choice(["a", "b", "é", "𝔷", "Z"]), "key": rng.choice("xyz"), "place": 100 * i + k}
            for k in range(30)
        ]
        paths.append(tmp_path / f"{i}.parquet")
        pq.write_table(pa.Table.from_pylist(of_file), paths[-1])
        rows += of_file
    read = sort_rows(paths, ("image_id", "key"), tmp_path / "parts")
    expected = sorted(rows, key=lambda row: (row["image_id"], row["key"]))
    assert list(read()) == list(read()) == expected
    assert len(list((tmp_path / "parts").iterdir())) == 15


def test_of_no_file_there_are_no_rows(tmp_path):
    assert list(sort_rows([], ("image_id",), tmp_path)()) == []
