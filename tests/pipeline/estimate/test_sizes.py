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


def test_of_tars_those_that_a_part_names_are_counted(tmp_path):
    folder = tmp_path / "set" / "cc3m"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number:05}.tar").touch()
        (folder / f"{number:05}_stats.json").write_text(f'{{"successes": {10**number}}}')
    parts = {"train": "{00000..00002}.tar", "val": "0000[34].tar"}
    ingest = {name: {"format": "webdataset", "images": "cc3m", "tars": tars} for name, tars in parts.items()}
    sizes = counted(tmp_path, ingest).sizes
    assert (sizes.train, sizes.val) == (111, 11_000)


def test_rows_of_the_hubs_files_are_pictures(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    for number, split in enumerate(("train", "train", "test")):
        pq.write_table(
            pa.table({"text": ["a"] * 5}), tmp_path / "set" / "data" / f"{split}-0000{number}-of-00002.parquet"
        )
    part = {
        "format": "huggingface",
        "images": ".",
        "parquet": "data/train-*.parquet",
        "caption_columns": ["text", "alt"],
    }
    found = counted(tmp_path, {"train": part})
    assert (found.sizes.train, found.sizes.captions) == (10, 20)


@pytest.mark.parametrize("format", ["lvis", "objects365", "coco"])
def test_a_list_of_instances_says_how_many_pictures_of_a_folder_are_of_a_part(tmp_path, format):
    """LVIS' training and validation pictures are in one folder."""
    pictures(tmp_path / "set" / "coco", 9)
    for part, number in (("train", 4), ("val", 2)):
        images = [{"id": i, "width": 4, "height": 3} for i in range(number)]
        content = {"images": images, "annotations": [{"id": 1, "bbox": [0, 0, 1, 1]}] * 7}
        (tmp_path / "set" / f"{part}.json").write_text(json.dumps(content))
    (tmp_path / "set" / "c.json").write_text(json.dumps({"annotations": [{"caption": "a"}] * 8}))
    ingest = {part: {"format": format, "images": "coco", "instances": f"{part}.json"} for part in ("train", "val")}
    if format == "lvis":
        ingest["train"]["captions"] = "c.json"
    sizes = counted(tmp_path, ingest).sizes
    assert (sizes.train, sizes.val, sizes.captions) == (4, 2, 8 if format == "lvis" else 0)


def test_a_source_that_can_not_be_counted_is_told(tmp_path):
    pictures(tmp_path / "here" / "images", 6)
    (tmp_path / "here" / "c.csv").write_text("image,caption\n" + "a,b\n" * 6)
    part = {"format": "folder", "images": "images", "captions": "c.csv"}
    sources = [
        {"name": name, "root": root, "train": part}
        for name, root in (("here", str(tmp_path / "here")), ("there", "http://127.0.0.1:9/set"))
    ]
    found = count(checked({"run": "own", "sources": sources}), tmp_path / "data", ingested=False, given=NOTHING)
    assert found.sizes.train == 6
    assert any("pictures of there/train: not counted, so that all below is too little" in line for line in found.told)


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
