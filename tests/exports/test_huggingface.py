"""The Parquet folder of the Hugging Face hub, read by `datasets`."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from exports.huggingface import write
from tests.exports.scenes import HEIGHT, MASKS, NAMES, WIDTH, labelled, masks_of, picture


def test_datasets_reads_pictures_names_and_masks(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "out"
    folder.mkdir()
    write(folder, labelled(), pictures=True, shard_mb=256)
    files = [str(file) for file in sorted((folder / "data").glob("*.parquet"))]
    data = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(data) == 3
    assert data.features["objects"]["category"].feature.names == list(NAMES)
    first = data[0]
    assert np.array_equal(first["image"].convert("RGB"), Image.open(io.BytesIO(picture({"path": sorted(MASKS)[0]}))))
    assert (first["width"], first["height"], first["captions"][1]) == (WIDTH, HEIGHT, "é")
    masks = [
        coco_mask.decode({"size": size, "counts": counts})
        for row in data
        for size, counts in zip(row["objects"]["size"], row["objects"]["counts"])
    ]
    assert np.array_equal(np.array(masks, bool), masks_of(labelled()))
    whole = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(whole) == 3, "by its card"


def test_the_card_names_the_files_and_says_what_is_inside(tmp_path):
    write(tmp_path, labelled(), pictures=True, shard_mb=256)
    _, head, text = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    [config] = yaml.safe_load(head)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "3 pictures with 4 labels of 3 categories" in text


def test_files_are_of_about_the_size_that_is_asked_for(tmp_path):
    data = labelled()
    [(image, labels), *_] = data.entries()
    many = type(data)(
        "t", data.categories, lambda: ((image, labels) for _ in range(150)), lambda image: b"x" * (1 << 15)
    )
    write(tmp_path, many, pictures=True, shard_mb=1)
    rows = [pq.read_metadata(file).num_rows for file in sorted((tmp_path / "data").iterdir())]
    assert sum(rows) == 150 and rows[:-1] == [32] * (len(rows) - 1)


def test_no_picture_is_a_table_without_rows(tmp_path):
    data = labelled()
    write(tmp_path, type(data)("t", data.categories, lambda: iter(()), data.content), pictures=True, shard_mb=1)
    assert pq.read_metadata(tmp_path / "data" / "train-00000.parquet").num_rows == 0
