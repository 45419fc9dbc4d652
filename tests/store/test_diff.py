"""Versions of a table side by side: no row is lost, whether its key is unique or not."""

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tables import TABLES
from store.diff import compare_tables


def category_counts(path, rows):
    table = pa.table(dict(zip(("category", "objects"), zip(*rows))), schema=TABLES["category_counts"].schema)
    pq.write_table(table, path)
    return [path]


def detections(path, rows):
    segmentation = {"size": [4, 4], "counts": "a"}
    content = [
        {"detector": "d", "image_id": image, "vocabulary": "all", "rank": 0, "category": "cat", "score": score,
         "bbox": [0.0, 0, 1, 1], "segmentation": segmentation}
        for image, score in rows
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(content, schema=TABLES["detections"].schema), path)
    return [path]


def test_rows_are_matched_by_the_tables_key(tmp_path):
    before = category_counts(tmp_path / "a", [("cat", 1), ("dog", 2), ("bus", 3)])
    after = category_counts(tmp_path / "b", [("cat", 1), ("dog", 5), ("cup", 4)])
    difference = compare_tables("category_counts", before, after)
    assert difference.same == 1 and difference.changed == [(("dog",), ["objects"])]
    assert difference.added == [("cup",)] and difference.removed == [("bus",)]


def test_rows_that_share_a_key_are_all_counted(tmp_path):
    before = detections(tmp_path / "a", [("1", 0.9), ("1", 0.8), ("1", 0.7), ("2", 0.5)])
    after = detections(tmp_path / "b", [("1", 0.95), ("1", 0.9), ("1", 0.7), ("1", 0.6), ("2", 0.5), ("2", 0.5)])
    one, two = (("d", image, "all", 0) for image in "12")
    difference = compare_tables("detections", before, after)
    assert difference.same == 3, "two of image 1, one of image 2"
    assert difference.changed == [(one, ["score"])]
    assert difference.added == [one, two] and difference.removed == []
    assert compare_tables("detections", after, before).removed == [one, two]
    itself = compare_tables("detections", after, after)
    assert (itself.same, itself.added, itself.removed, itself.changed) == (6, [], [], [])
