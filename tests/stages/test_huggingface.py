"""Parquet files of the Hugging Face hub, by the commands a user types."""

import hashlib

import pandas as pd
import pyarrow as pa
import pytest

from tests.conftest import Project
from tests.sources.parquet_files import IMAGE, write_parquet
from tests.stages.test_webdataset import project_of, scenes  # noqa: F401 (a fixture)

COLUMNS = {"image": IMAGE, "text": pa.string(), "key": pa.string()}


def in_parquet(folder, scenes, **ingest) -> Project:  # noqa: F811
    """The pictures in two files, in row groups of two, by the ids that they have in tars, last ones first."""
    rows = [
        {"image": {"bytes": picture, "path": None}, "text": text, "key": f"tars/{i // 4:05d}/{i:09d}"}
        for i, (picture, text) in reversed([*enumerate(scenes)])
    ]
    for number, of_file in enumerate((rows[:7], rows[7:])):
        file = folder / "data" / "toy" / "hub" / "data" / f"train-{number:05d}-of-00002.parquet"
        write_parquet(file, of_file, COLUMNS, row_group_size=2)
    part = {"format": "huggingface", "images": "hub", "parquet": "data/train-*.parquet"}
    return project_of(folder, part | {"caption_columns": ["text"], "id_column": "key"}, **ingest)


def manifest(project: Project, stage: str, shard: str = "all") -> str:
    return f"data/runs/{project.config['run']}/manifests/{stage}/{shard}.json"


def test_pictures_in_parquet_files_are_read_where_they_lie(tmp_path, scenes):  # noqa: F811
    project = in_parquet(tmp_path, scenes)
    project.snakemake(manifest(project, "selective_search", "0"))
    images, captions = (pd.read_parquet(project.run / table) for table in ("images", "captions"))
    assert list(images.sha256) == [hashlib.sha256(picture).hexdigest() for picture, _ in scenes]
    assert list(images.image_id) == list(captions.image_id) == [f"tars/{i // 4:05d}/{i:09d}" for i in range(10)]
    assert list(captions.text) == [text for _, text in scenes]
    assert images.path[0] == "hub/data/train-00001-of-00002.parquet#000000002"
    assert len(pd.read_parquet(project.run / "proposals")) == 10


def test_each_shard_has_a_run_of_rows_though_ids_are_in_another_order(tmp_path, scenes):  # noqa: F811
    project = in_parquet(tmp_path, scenes)
    project.config["shards"] = 2
    project.write_config()
    project.stage("ingest")
    of_shards = [pd.read_parquet(project.run / "images" / f"{i}.parquet") for i in (0, 1)]
    places = [[path.partition("train-")[2] for path in sorted(shard.path)] for shard in of_shards]
    assert places == [
        [f"00000-of-00002.parquet#{row:09d}" for row in range(5)],
        [f"00000-of-00002.parquet#{row:09d}" for row in (5, 6)]
        + [f"00001-of-00002.parquet#{row:09d}" for row in range(3)],
    ]
    assert [*of_shards[0].image_id] == sorted(of_shards[0].image_id)


def test_pictures_as_plain_bytes_of_which_some_are_missing(tmp_path, scenes):  # noqa: F811
    """img2dataset's Parquet files: what it could not fetch is held against the stage from ingest.max_missing_fraction on."""
    rows = [{"key": i, "jpg": picture, "caption": text} for i, (picture, text) in enumerate(scenes)]
    rows[4]["jpg"] = None
    columns = {"key": pa.int64(), "jpg": pa.binary(), "caption": pa.string()}
    write_parquet(tmp_path / "data" / "toy" / "out" / "00000.parquet", rows, columns, images=None)
    part = {"format": "huggingface", "images": "out", "image_column": "jpg", "id_column": "key"}
    project = project_of(tmp_path, part | {"caption_columns": ["caption"]}, max_missing_fraction=0.05)
    output = project.stage("ingest", check=False)
    assert "1 no_picture" in output and "Traceback" not in output
    project.config["ingest"]["max_missing_fraction"] = 0.1
    project.write_config()
    project.snakemake(manifest(project, "selective_search", "0"))
    images, captions = (pd.read_parquet(project.run / table) for table in ("images", "captions"))
    assert list(images.image_id) == list(captions.image_id) == [f"{i}" for i in range(10) if i != 4]
    assert len(pd.read_parquet(project.run / "proposals")) == 9


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "caption_columns",
            ["captions"],
            "the column of captions captions is not there; name those that hold captions",
        ),
        ("parquet", "train-*.parquet", "hub holds no train-*.parquet; set images to the folder of the files"),
        ("id_column", "image", "an id is a whole number or a text"),
        ("parquet", "data/*.csv", "ingest.train.parquet"),
    ],
)
def test_what_does_not_fit_the_files_is_one_line(tmp_path, scenes, key, value, said):  # noqa: F811
    project = in_parquet(tmp_path, scenes)
    project.config["ingest"]["train"][key] = value
    project.write_config()
    output = project.stage("ingest", check=False)
    assert said in output and "Traceback" not in output
