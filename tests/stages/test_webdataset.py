"""A data set in tars, from its files to what a run makes of it: the same as of the same pictures in a folder."""

import json
import os

import pandas as pd
import pytest
import yaml

from sources.toy import scenes as toy
from tests.conftest import MINIATURE, Project
from tests.sources.tar_files import jpeg, samples, write_log, write_tar

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
        (root / "pictures" / f"{i}.jpg").write_bytes(content)
        images.append({"id": image_id, "file_name": f"{i}.jpg"})
        annotations.append({"id": image_id, "image_id": image_id, "caption": text})
    sizes = {"width": toy.SIZE[0], "height": toy.SIZE[1]} if hasattr(toy, "SIZE") else {}
    content = {"images": [image | sizes for image in images], "annotations": annotations}
    (root / "captions.json").write_text(json.dumps(content))
    return project_of(folder, {"format": "coco", "images": "pictures", "captions": "captions.json"})


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.run / name)
