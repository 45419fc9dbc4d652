"""Rows that are read when somebody asks for them."""

import multiprocessing
import random

import numpy as np
import pyarrow as pa
import pytest

from store.join import join_by_image
from store.on_demand import PLACE, RowsOnDemand, placed_rows
from store.parquet import TableWriter, chains, read_rows
from structures.errors import UserError

SCHEMA = pa.schema({"image_id": pa.string(), "boxes": pa.list_(pa.list_(pa.float32(), 4)), "name": pa.string()})


def written(folder, shards: int, images: int = 60):
    """Files of a table in which image i has i % 4 rows, of which some go over the end of a row group of 7."""
    rng, paths = np.random.default_rng(3), []
    for shard in range(shards):
        path = folder / f"{shard}.parquet"
        writer = TableWriter(path, SCHEMA, 7)
        for i in range(shard, images, shards):
            for k in range(i % 4):
                boxes = list(rng.random((i % 3, 4), np.float32))
                writer.add(image_id=f"{i:03d}", boxes=boxes, name=f"{i} {k}")
        writer.close()
        paths.append(path)
    return paths


def told(rows: list[dict]) -> list[tuple]:
    return [(row["image_id"], row["name"], np.asarray(row["boxes"]).tolist()) for row in rows]


def on_demand(paths, columns=None) -> RowsOnDemand:
    chosen = RowsOnDemand([(paths, columns), (paths, ["name"])])
    for _, (rows,) in join_by_image(placed_rows(paths, ["image_id"])):
        chosen.add(rows, rows[:1])
    return chosen


@pytest.mark.parametrize("shards", [1, 20])
def test_rows_are_those_that_were_written_in_any_order_of_asking(tmp_path, shards):
    """With more files than are kept open, too."""
    paths = written(tmp_path, shards)
    everything = {}
    for row in read_rows(paths):
        everything.setdefault(row["image_id"], []).append(row)
    chosen = on_demand(paths)
    order = list(enumerate(sorted(everything)))
    random.Random(1).shuffle(order)
    for i, image_id in order:
        rows, [first] = chosen[i]
        assert told(rows) == told(everything[image_id])
        assert first == {"name": f"{int(image_id)} 0"}
    assert len(chosen) == len(everything) == 45


def test_an_item_without_rows_of_a_table_has_an_empty_list(tmp_path):
    chosen = RowsOnDemand([(written(tmp_path, 1), None)])
    chosen.add([])
    assert chosen[0] == ([],)


def test_a_place_is_the_file_and_the_row(tmp_path):
    paths = written(tmp_path, 2, 8)
    assert [(row["image_id"], row[PLACE]) for row in placed_rows(paths, ["image_id"])][:5] == [
        ("001", (1, 0)),
        ("002", (0, 0)),
        ("002", (0, 1)),
        ("003", (1, 1)),
        ("003", (1, 2)),
    ]


def test_shards_that_are_runs_of_images_are_read_one_after_the_other(tmp_path):
    """So that a crawl's hundreds of shards are not open at once; files without rows, and in any order of names, too."""
    paths = [tmp_path / f"{name}.parquet" for name in "dacb"]
    for path, first in zip(paths, (30, 0, None, 10)):
        writer = TableWriter(path, SCHEMA, 4)
        for i in range(first, first + 10) if first is not None else ():
            writer.add(image_id=f"{i:03d}", boxes=[], name="")
        writer.close()
    assert chains(paths) == [[1, 3, 0]]
    ids = [f"{i:03d}" for i in (*range(20), *range(30, 40))]
    assert [row["image_id"] for row in placed_rows(paths, ["image_id"])] == ids
    assert chains(written(tmp_path, 2)) == [[0], [1]], "files of images in turns"
    assert chains([]) == [[]]


def test_a_worker_process_reads_by_itself(tmp_path):
    chosen = on_demand(written(tmp_path, 3))
    before = [told(chosen[i][0]) for i in range(len(chosen))]
    with multiprocessing.get_context("fork").Pool(2, _share, (chosen,)) as pool:
        assert pool.map(_of_worker, range(len(chosen))) == before


def _share(chosen) -> None:
    global SHARED
    SHARED = chosen


def _of_worker(i: int) -> list:
    return told(SHARED[i][0])


def test_a_broken_file_is_named(tmp_path):
    [path] = paths = written(tmp_path, 1)
    chosen = on_demand(paths)
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"0\.parquet does not hold what was written"):
        for item in chosen:
            assert item
