"""A data set in tars, from its files to what a run makes of it: the same as of the same pictures in a folder."""

import hashlib
import io
import json

import pandas as pd
import pytest
import yaml
from PIL import Image

from sources.toy import scenes as toy
from tests.conftest import MINIATURE, Project
from tests.sources.tar_files import write_log, write_tar

STAGES = ("ingest", "categories", "nouns", "gradcam", "selective_search")
TABLES = ("captions", "judged", "nouns", "gradcam", "proposals")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[tuple[bytes, str]]:
    """Ten drawn pictures, as their files' bytes, each with its first caption."""
    folder = tmp_path_factory.mktemp("drawn")
    toy.write_split(folder, "train", 10, 5)
    content = json.loads((folder / "annotations" / "captions_train.json").read_text())
    captions = {row["image_id"]: row["caption"] for row in reversed(content["annotations"])}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    return [((folder / "train" / names[image_id]).read_bytes(), text) for image_id, text in captions.items()]


def project_of(folder, part: dict, **ingest) -> Project:
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    config |= {"toy": {"train": 0, "val": 0}, "ingest": {"train": part, **ingest}}
    config["finetune_detector"] = {"steps": 0}
    return Project(folder, config)


def in_tars(folder, scenes, **ingest) -> Project:
    """The pictures in three tars, as img2dataset names them."""
    for first in (0, 4, 8):
        members = []
        for i, (content, text) in enumerate(scenes[first : first + 4], start=first):
            row = {"caption": text, "key": f"{i:09d}", "status": "success"}
            members += [(f"{i:09d}.jpg", content), (f"{i:09d}.json", json.dumps(row)), (f"{i:09d}.txt", text)]
        write_tar(folder / "data" / "toy" / "tars" / f"{first // 4:05d}.tar", members)
    return project_of(folder, {"format": "webdataset", "images": "tars"}, **ingest)


def in_a_folder(folder, scenes) -> Project:
    """The same as files, in COCO's format, by the ids that the pictures have in the tars."""
    root = folder / "data" / "toy"
    (root / "pictures").mkdir(parents=True)
    images, annotations = [], []
    for i, (content, text) in enumerate(scenes):
        image_id = f"tars/{i // 4:05d}/{i:09d}"
        with Image.open(io.BytesIO(content)) as picture:
            size = {"width": picture.width, "height": picture.height}
        (root / "pictures" / f"{i}.jpg").write_bytes(content)
        images.append({"id": image_id, "file_name": f"{i}.jpg"} | size)
        annotations.append({"id": image_id, "image_id": image_id, "caption": text})
    (root / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return project_of(folder, {"format": "coco", "images": "pictures", "captions": "captions.json"})


def content(project: Project, table: str) -> list[bytes]:
    """The bytes of a table's files."""
    return [file.read_bytes() for file in sorted((project.run / table).glob("*.parquet"))]


def test_pictures_in_tars_give_the_same_bytes_as_in_a_folder(tmp_path, scenes):
    tars, files = in_tars(tmp_path / "tars", scenes), in_a_folder(tmp_path / "files", scenes)
    for stage in STAGES:
        tars.stage(stage)
        files.stage(stage)
    for table in TABLES:
        assert content(tars, table) == content(files, table) and len(pd.read_parquet(tars.run / table)) >= 10, table
    pictures, expected = (pd.read_parquet(project.run / "images") for project in (tars, files))
    assert pictures.drop(columns="path").equals(expected.drop(columns="path"))
    assert list(pictures.sha256) == [hashlib.sha256(picture).hexdigest() for picture, _ in scenes]
    assert list(pictures.path[:5]) == [
        *(f"tars/00000.tar#00000000{i}.jpg" for i in range(4)),
        "tars/00001.tar#000000004.jpg",
    ]


def test_each_shard_has_a_run_of_pictures_and_results_do_not_depend_on_their_number(tmp_path, scenes):
    one, two = in_tars(tmp_path / "one", scenes, holdout=0.2), in_tars(tmp_path / "two", scenes, holdout=0.2)
    two.config["shards"] = 2
    two.write_config()
    one.stage("ingest")
    two.stage("ingest")
    of_shards = [pd.read_parquet(two.run / "images" / f"{i}.parquet") for i in (0, 1)]
    assert [list(shard[shard.split == "train"].path.str[5:10].unique()) for shard in of_shards] == [
        ["00000", "00001"],
        ["00001", "00002"],
    ]
    assert [sorted(shard.split) for shard in of_shards] == [["train"] * 4 + ["val"]] * 2
    one.stage("selective_search")
    for shard in "01":
        two.stage("selective_search", "--shard", shard)
    for table in ("images", "captions", "proposals"):
        whole, parts = (pd.read_parquet(project.run / table).sort_values("image_id") for project in (one, two))
        assert whole.map(str).values.tolist() == parts.map(str).values.tolist()


def test_what_could_not_be_fetched_is_held_against_the_stage_above_the_allowed_share(tmp_path, scenes):
    project = in_tars(tmp_path, scenes[:3])
    log = [(f"{i:09d}", "success", None) for i in range(3)] + [("000000003", "failed_to_download", "404: Not\nFound")]
    root = tmp_path / "data" / "toy" / "tars"
    write_log(root / "00000.parquet", log)
    for name in ("00001", "00002"):
        (root / f"{name}.tar").unlink()
    output = project.stage("ingest", check=False)
    assert "1 failed_to_download" in output and "max_reject_fraction" in output and "Traceback" not in output
    project.config["ingest"]["max_missing_fraction"] = 0.25
    project.write_config()
    project.stage("ingest")
    assert len(pd.read_parquet(project.run / "images")) == 3
    [reject] = pd.read_parquet(project.run / "ingest" / "_rejects").to_dict("records")
    assert reject["image_id"] == "tars/00000/000000003" and not reject["counted"]
    assert reject["detail"].startswith("http://x.example/3: failed_to_download, 404: Not\\nFound (")


def test_a_tar_that_changes_is_noticed_and_its_pictures_are_rejects_until_it_is_read_again(tmp_path, scenes):
    project = in_tars(tmp_path, scenes, max_missing_fraction=0.5)
    project.config["ingest"]["train"]["tars"] = "{00000..00002}.tar"
    project.write_config()
    ingest = f"data/runs/{project.config['run']}/manifests/ingest/all.json"
    project.snakemake(ingest)
    assert "Nothing to be done" in project.snakemake(ingest, "-n")
    tar = tmp_path / "data" / "toy" / "tars" / "00001.tar"
    changed = bytearray(tar.read_bytes())
    changed[changed.index(scenes[5][0]) + 300] ^= 1
    tar.write_bytes(changed)
    assert "Params have changed" in project.snakemake(ingest, "-n")
    project.config["max_reject_fraction"] = 0.5
    project.write_config()
    output = project.stage("selective_search")
    [reject] = pd.read_parquet(project.run / "selective_search" / "_rejects").to_dict("records")
    assert (reject["image_id"], reject["reason"]) == ("tars/00001/000000005", "changed_image"), output
    assert reject["detail"].startswith(
        f"{tmp_path}/data/toy/tars/00001.tar#000000005.jpg is not the picture that ingest read"
    )


def test_a_tar_that_is_cut_short_stops_the_stage_in_one_line(tmp_path, scenes):
    project = in_tars(tmp_path, scenes)
    tar = tmp_path / "data" / "toy" / "tars" / "00002.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    output = project.stage("ingest", check=False)
    assert "tars/00002.tar is cut short in 000000008.jpg" in output and "Traceback" not in output
