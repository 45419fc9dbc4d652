"""How many pictures and captions are counted in files."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import checked
from pipeline.estimate.sizes import count
from structures.errors import UserError

NOTHING = {"images": None, "val_images": None, "captions": None, "pairs": None}


def counted(tmp_path, ingest, given=None, **config):
    """The sizes of a data set of the user's own in tmp_path/set."""
    config = checked({"run": "own", "root": str(tmp_path / "set"), "ingest": ingest} | config)
    return count(config, tmp_path / "data", ingested=False, given=NOTHING | (given or {}))


def pictures(folder, number):
    folder.mkdir(parents=True)
    for i in range(number):
        (folder / f"{i}.JPG").touch()
    (folder / "notes.txt").touch()


def test_drawn_scenes_are_those_of_the_configuration(tmp_path):
    config = checked({"run": "own", "root": "r", "toy": {"train": 30, "val": 10}})
    sizes = count(config, tmp_path, ingested=False, given=NOTHING).sizes
    assert (sizes.train, sizes.val, sizes.captions) == (30, 10, 80)


def test_coco_lists_its_images_and_captions(tmp_path):
    (tmp_path / "set").mkdir()
    for split, images, captions in (("train", 7, 35), ("val", 3, 15)):
        content = {"images": [{}] * images, "annotations": [{}] * captions}
        (tmp_path / "set" / f"{split}.json").write_text(json.dumps(content))
    ingest = {split: {"images": split, "captions": f"{split}.json"} for split in ("train", "val")}
    found = counted(tmp_path, ingest)
    assert (found.sizes.train, found.sizes.val, found.sizes.captions) == (7, 3, 50)
    assert found.sizes.pairs == pytest.approx(35 * 340_000 / 591_753), "of training captions alone"
    assert any("train.json" in line for line in found.told)


@pytest.mark.parametrize(("name", "rows"), [("c.csv", 5), ("c.tsv", 5), ("c.jsonl", 6), ("c.parquet", 5)])
def test_the_rows_of_a_table_beside_a_folder_are_counted(tmp_path, name, rows):
    pictures(tmp_path / "set" / "images" / "deeper", 8)
    file = tmp_path / "set" / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"image": ["a"] * 5}), file)
    else:
        file.write_text("image,caption\n" + "a,b\n" * 5)
    ingest = {"train": {"format": "folder", "images": "images", "captions": name}, "holdout": 0.25}
    sizes = counted(tmp_path, ingest).sizes
    assert (sizes.train, sizes.val, sizes.captions) == (6, 2, rows)


def test_tars_are_counted_by_the_logs_beside_them_or_by_what_a_tar_usually_holds(tmp_path):
    folder = tmp_path / "set" / "cc3m"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number:05}.tar").touch()
    ingest = {"train": {"format": "webdataset", "images": "cc3m"}}
    assert counted(tmp_path, ingest).sizes.train == 30_000
    for number in range(3):
        (folder / f"{number:05}_stats.json").write_text('{"count": 10000, "successes": 71}')
    found = counted(tmp_path, ingest)
    assert found.sizes.train == found.sizes.captions == 3 * 71 and "3 tars" in found.told[0]


def test_what_is_told_goes_before_what_is_counted(tmp_path):
    ingest = {"train": {"images": "train", "captions": "c.json"}}
    sizes = counted(tmp_path, ingest, {"images": 100, "val_images": 7, "captions": 500, "pairs": 90}).sizes
    assert (sizes.train, sizes.val, sizes.captions, sizes.pairs, sizes.labels) == (100, 7, 500, 90, 90)


@pytest.mark.parametrize("content", ["{}", "[", '{"images": 1, "annotations": 2}', "[]"])
def test_files_that_nothing_can_be_counted_in_are_asked_for(tmp_path, content):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "c.json").write_text(content)
    with pytest.raises(UserError, match=r"set .*can't be counted.*--images"):
        counted(tmp_path, {"train": {"images": "train", "captions": "c.json"}})
