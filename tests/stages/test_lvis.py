"""LVIS and Objects365 from their files to scores, by the stages' command lines: cases worked out by hand.

Detections are written into the run as if `detect` had found them, so that every score is known.
"""

import json
from operator import itemgetter

import pandas as pd
import pytest
import yaml
from PIL import Image

from structures.masks import encode
from tests.conftest import MINIATURE, Project
from tests.stages.test_open_images import LEFT, RIGHT, SIZE, box, found, half, put

pytestmark = pytest.mark.xdist_group("lvis")  # one process writes the data set

CATEGORIES = [
    {"id": 1, "name": "cat", "frequency": "f", "synonyms": ["cat", "kitten"]},
    {"id": 2, "name": "cup_(coffee)", "frequency": "r", "synonyms": ["cup_(coffee)", "mug"]},
    {"id": 3, "name": "wheel", "frequency": "c", "synonyms": ["wheel"]},
]
# of each picture: what is annotated, where; categories known to be absent; categories not annotated exhaustively
TRAIN = {1: ([(1, LEFT), (3, RIGHT)], [], [1]), 2: ([(2, LEFT)], [1], []), 3: ([], [2], [])}
VAL = {
    11: ([(1, LEFT)], [2], [1]),  # more cats may be there, and no cup is
    12: ([(1, LEFT), (2, RIGHT)], [], []),
    13: ([(2, LEFT)], [], []),  # nobody looked for cats
}
DETECTIONS = [
    found("11", "cat", RIGHT, 0.9, 0),  # one of those that are not annotated: ignored
    found("11", "cat", LEFT, 0.8, 1),  # right
    found("12", "cat", RIGHT, 0.7, 0),  # false: all cats are annotated
    found("12", "cat", LEFT, 0.6, 1),  # right
    found("13", "cat", LEFT, 0.95, 0),  # ignored
    found("11", "cup (coffee)", LEFT, 0.9, 2),  # false: known to be absent
    found("12", "cup (coffee)", RIGHT, 0.8, 2),  # right
    found("13", "cup (coffee)", LEFT, 0.7, 1),  # right
]


def write_part(root, name: str, pictures: dict, outlined: bool = True) -> None:
    images, annotations = [], []
    (root / "train2017").mkdir(exist_ok=True)
    for number, (objects, absent, partial) in pictures.items():
        file = f"train2017/{number:012d}.jpg"
        Image.new("RGB", SIZE[::-1], (90, 120, 60)).save(root / file)
        lists = {"neg_category_ids": absent, "not_exhaustive_category_ids": partial}
        size = {"height": SIZE[0], "width": SIZE[1]}
        address = {"coco_url": f"http://images.cocodataset.org/{file}"} if outlined else {"file_name": file}
        images.append({"id": number} | address | size | (lists if outlined else {}))
        for category, place in objects:
            row = {"id": len(annotations) + 100 * number, "image_id": number, "category_id": category}
            shape = {"bbox": box(place), "area": 1600.0} | (
                {"segmentation": encode(half(place[0]))} if outlined else {}
            )
            annotations.append(row | shape)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Both parts, ingested; LVIS' own categories are the vocabulary."""
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    project = Project(tmp_path_factory.mktemp("lvis"), config)
    root = project.folder / "data" / "coco"
    root.mkdir(parents=True)
    write_part(root, "lvis_train", TRAIN)
    write_part(root, "lvis_val", VAL)
    captions = [
        {"id": i, "image_id": i, "caption": text} for i, text in ((1, "a kitten"), (2, "a mug"), (77, "a wheel"))
    ]
    (root / "captions.json").write_text(json.dumps({"images": [], "annotations": captions}))
    part = {"format": "lvis", "images": "."}
    config["ingest"] = {
        "train": part | {"instances": "lvis_train.json", "captions": "captions.json"},
        "val": part | {"instances": "lvis_val.json"},
    }
    config |= {"root": str(root), "toy": {"train": 0, "val": 0}, "vocabulary": str(root / "lvis_train.json")}
    config |= {"detectors": ["train_detector"], "shards": 1, "evaluate_proposals": {"generators": []}}
    config |= {"evaluate_labels": {"scores": []}}
    project.write_config()
    project.stage("ingest")
    project.stage("categories")
    return project


def scores(project, kind: str) -> dict:
    """AP50 of boxes or masks, as `evaluate` writes it."""
    put(project, "detections", sorted(DETECTIONS, key=itemgetter("image_id")), part="train_detector")
    put(project, "label_metrics", [{"protocol": "p", "kind": "k", "group": "all", "metric": "iou", "value": 0.5}])
    put(project, "kept_labels", [])
    project.stage("evaluate")
    metrics = pd.read_parquet(project.run / "metrics").query("metric == 'AP50' and kind == @kind")
    return {(row.protocol, row.group): row.value for row in metrics.itertuples()}


def test_what_a_picture_was_looked_through_for_is_kept(project):
    judged = pd.read_parquet(project.run / "judged")
    of_11 = judged[judged.image_id == "11"]
    assert sorted(zip(of_11.category, of_11.present, of_11.exhaustive)) == [
        ("", False, True),
        ("cat", True, False),
        ("cat", True, True),
        ("cup (coffee)", False, True),
    ]
    assert list(pd.read_parquet(project.run / "captions").text) == ["a kitten", "a mug"]
    split = json.loads((project.run / "categories" / "all.json").read_text())
    assert split["base"] == ["cat", "wheel"] and split["novel"] == ["cup (coffee)"]
    assert split["synonyms"] == {"cat": ["kitten"], "cup (coffee)": ["cup", "mug"]}


def test_detections_are_scored_by_lvis_rules(project):
    """Cat: right, false, right: precision 1 up to recall 1/2, then 2/3. Cup: false, right, right: 2/3 everywhere."""
    values = scores(project, "segm")
    assert values["generalized_base", "cat"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert values["generalized", "novel"] == pytest.approx(100 * 2 / 3)


def test_labels_are_not_measured_where_more_may_be_there_than_is_annotated(project):
    """Of the training images: a cat on 1 says nothing, one on 2 is false; a cup on 2 is right."""
    for table in ("nouns", "gradcam", "proposals", "pseudo_boxes", "wspn_proposals"):
        put(project, table, part="0")
    shape = {"instance": 0, "box": [40, 0, 80, 40], "rank": 0, "coverage": 1.0, "area": 1600.0, "agreement": 1.0}
    masks = [
        shape | {"image_id": image_id, "category": category, "score": 0.5, "segmentation": encode(half(place[0]))}
        for image_id, category, place in (("1", "cat", RIGHT), ("2", "cat", LEFT), ("2", "cup (coffee)", LEFT))
    ]
    put(project, "pseudo_masks", masks, part="0")
    project.stage("evaluate_labels")
    metrics = pd.read_parquet(project.run / "label_metrics").set_index(["protocol", "kind", "group", "metric"]).value
    assert (
        metrics["pseudo_labels", "mask", "base", "iou"] == 0 and metrics["pseudo_labels", "mask", "novel", "iou"] == 1
    )
    assert metrics["pseudo_labels", "mask", "all", "iou"] == 0.5


def test_a_list_that_names_no_category_stops_the_stage_naming_it(project):
    file = project.folder / "data" / "coco" / "lvis_val.json"
    whole = file.read_text()
    file.write_text(whole.replace('"not_exhaustive_category_ids": [1]', '"not_exhaustive_category_ids": [9]'))
    output = project.stage("ingest", check=False)
    file.write_text(whole)
    assert "1 bad_judgement" in output and "Traceback" not in output
    [reject] = pd.read_parquet(project.run / "ingest" / "_rejects").to_dict("records")
    assert reject["detail"].endswith("lvis_val.json, images[0], not_exhaustive_category_ids: no category has the id 9")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """The same pictures as Objects365 has them: boxes alone, all categories looked for."""
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    project = Project(tmp_path_factory.mktemp("objects365"), config)
    root = project.folder / "data" / "objects365"
    root.mkdir(parents=True)
    write_part(root, "train", TRAIN, outlined=False)
    write_part(root, "val", VAL, outlined=False)
    part = {"format": "objects365", "images": "."}
    config["ingest"] = {name: part | {"instances": f"{name}.json"} for name in ("train", "val")}
    (root / "words.json").write_text('{"base": ["cat", "wheel"], "novel": ["cup_(coffee)"]}')
    config |= {"root": str(root), "toy": {"train": 0, "val": 0}, "vocabulary": str(root / "words.json")}
    config |= {"detectors": ["train_teacher"], "nouns": {"source": "labels"}, "pretrain_captions": {"steps": 0}}
    config["train_teacher"] |= {"frozen": []}
    config["evaluate_proposals"] = {"generators": []}
    project.write_config()
    for stage in ("ingest", "categories", "nouns", "embed_text"):
        project.stage(stage)
    return project


def test_boxes_alone_are_scored_as_boxes_and_not_as_masks(boxes):
    outlined = pd.read_parquet(boxes.run / "annotations")
    assert len(outlined) == 7 and outlined.segmentation.isna().all()
    detections = [row | {"detector": "train_teacher"} for row in DETECTIONS if row["category"] == "cat"]
    put(boxes, "detections", detections, part="train_teacher")
    boxes.stage("evaluate")
    metrics = pd.read_parquet(boxes.run / "metrics").query("metric == 'AP50' and protocol == 'generalized'")
    values = {(row.kind, row.group): row.value for row in metrics.itertuples()}
    assert values["bbox", "base"] == pytest.approx(100 * 2 / 5), (
        "all cats were looked for: three are false, two of five right"
    )
    assert values["segm", "base"] == values["segm", "novel"] == -1


def test_a_teacher_of_masks_asks_for_outlines_and_one_of_boxes_learns(boxes):
    output = boxes.stage("train_teacher", check=False)
    assert "have boxes alone" in output and "set train_teacher.supervision to boxes" in output
    assert "Traceback" not in output
    output = boxes.stage("train_teacher", "--supervision", "boxes")
    assert "2 of these have a box alone" in output
