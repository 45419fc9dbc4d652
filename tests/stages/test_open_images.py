"""Open Images from its files to scores, by the stages' command lines: cases worked out by hand.

Detections are written into the run as if `detect` had found them, so that every score is known.
"""

import json
from operator import itemgetter

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from schemas.tables import TABLES
from store.blobs import Blobs, write_atomically
from store.fingerprint import ROOT
from store.manifest import Manifest, Output, Run, producer
from store.parquet import TableWriter
from structures.masks import encode
from tests.conftest import MINIATURE, Project

pytestmark = pytest.mark.xdist_group("open_images")  # one process writes the data set

CAT, CUP, ANIMAL, WHEEL = "/m/01yrx", "/m/02p5f1q", "/m/0jbk", "/m/083wq"
LEFT, RIGHT = (0.0, 0.5, 0.0, 1.0), (0.5, 1.0, 0.0, 1.0)  # XMin, XMax, YMin, YMax
SIZE = (40, 80)  # height, width of every picture
HIERARCHY = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [{"LabelName": ANIMAL, "Subcategory": [{"LabelName": CAT}]}, {"LabelName": CUP}],
}
# of each picture: what is outlined, where; groups; classes verified present; classes verified absent
TRAIN = {
    "t1": ([(CAT, LEFT), (CAT, RIGHT), (WHEEL, LEFT), (WHEEL, RIGHT)], [], [CAT, WHEEL], [CUP]),
    "t2": ([(CAT, LEFT), (ANIMAL, LEFT), (ANIMAL, RIGHT), (WHEEL, LEFT), (WHEEL, RIGHT)], [], [CAT, ANIMAL], []),
    "t3": ([(CUP, LEFT)], [(CUP, RIGHT)], [CUP], []),
    "t4": ([(WHEEL, LEFT)], [], [WHEEL], []),  # of no class of the challenge is anything known
}
VAL = {
    "v1": ([(CUP, LEFT)], [(CUP, RIGHT)], [CUP], [CAT]),
    "v2": ([(CUP, LEFT)], [], [CUP], [ANIMAL]),
    "v3": ([(CAT, LEFT)], [], [CAT], []),
}


def write_part(root, name, pictures):
    """A part as it is published: CSVs, mask files, pictures. Returns its section of ingest."""
    outlined, boxes, labels = [], [], []
    for folder in (name, f"{name}-masks"):
        (root / folder).mkdir()
    for image_id, (objects, groups, present, absent) in pictures.items():
        Image.new("RGB", SIZE[::-1], (90, 120, 60)).save(root / name / f"{image_id}.jpg")
        for number, (label, (x0, x1, y0, y1)) in enumerate(objects):
            file = f"{image_id}_{label.replace('/', '')}_{number}.png"
            cv2.imwrite(str(root / f"{name}-masks" / file), 255 * half(x0).astype(np.uint8))
            outlined.append([file, image_id, label, number, x0, x1, y0, y1])
        boxes += [[image_id, label, *place, 1] for label, place in groups]
        labels += [[image_id, label, 1] for label in present] + [[image_id, label, 0] for label in absent]
    shared = {"format": "openimages", "images": name, "classes": "challenge.csv", "masks": f"{name}-masks"}
    tables = {
        "instances": (outlined, "MaskPath ImageID LabelName BoxID BoxXMin BoxXMax BoxYMin BoxYMax"),
        "boxes": (boxes, "ImageID LabelName XMin XMax YMin YMax IsGroupOf"),
        "labels": (labels, "ImageID LabelName Confidence"),
    }
    for table, (rows, columns) in tables.items():
        pd.DataFrame(rows, columns=columns.split()).to_csv(root / f"{name}-{table}.csv", index=False)
    return shared | {table: f"{name}-{table}.csv" for table in tables}


def write_captioned(root):
    """A picture with a caption alone, of Conceptual Captions, which nobody judged. Returns its section of ingest."""
    (root / "captioned").mkdir()
    Image.new("RGB", SIZE[::-1], (90, 120, 60)).save(root / "captioned" / "0.jpg")
    (root / "captions.tsv").write_text("a cup of coffee\thttp://x.example/0\n")
    shared = {"format": "conceptual_captions", "images": "captioned", "captions": "captions.tsv"}
    return shared | {"file_name": "{row}.jpg"}


def half(x0):
    """The left or the right half of a picture as a mask."""
    mask = np.zeros(SIZE, bool)
    mask[:, round(x0 * SIZE[1]) :][:, : SIZE[1] // 2] = True
    return mask


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Both parts, ingested, the categories counted: Cat (3 objects) and Animal (2) base, Coffee cup (1) novel."""
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    project = Project(tmp_path_factory.mktemp("open_images"), config)
    root = project.folder / "data" / "openimages"
    root.mkdir(parents=True)
    every_class = f"{CAT},Cat\n{CUP},Coffee cup\n{ANIMAL},Animal\n"
    (root / "challenge.csv").write_text(every_class)
    (root / "boxable.csv").write_text(f"{every_class}{WHEEL},Wheel\n")
    (root / "hierarchy.json").write_text(json.dumps(HIERARCHY))
    parts = {"train": write_part(root, "train", TRAIN), "val": write_part(root, "val", VAL)}
    parts["captioned"] = write_captioned(root)
    config |= {"root": str(root), "toy": {"train": 0, "val": 0}, "vocabulary": "", "ingest": parts}
    config |= {"categories": {"base": 2, "novel": 1}, "detectors": ["train_detector"], "shards": 2}
    config |= {"evaluate_labels": {"scores": []}, "evaluate_proposals": {"generators": []}}
    project.write_config()
    project.stage("ingest")
    project.stage("categories")
    return project


def put(project, table, rows=(), part="all", detector=""):
    """Leave rows in the run as the result of the stage that writes the table."""
    data, stage = project.folder / "data", producer(table)[0]
    blobs, run = Blobs(data), Run(data, project.config["run"])
    with blobs.draft(".parquet") as draft:
        writer = TableWriter(draft, TABLES[table].schema, TABLES[table].row_group)
        for row in rows:
            writer.add(**row)
        writer.close()
        digest, size = blobs.keep(draft)
    output = Output(f"{table}/{part}.parquet", digest, size, len(rows))
    manifest = Manifest(stage, part, digest, "", None, {}, outputs=[output])
    write_atomically(run.manifest_path(stage, part), manifest.to_json())


def box(place):
    return [place[0] * 80, 0.0, 40.0, 40.0]


def found(image_id, category, place, score, rank, vocabulary="all"):
    shape = {"bbox": box(place), "segmentation": encode(half(place[0]))}
    key = {"detector": "train_detector", "image_id": image_id, "vocabulary": vocabulary, "rank": rank}
    return key | {"category": category, "score": score} | shape


DETECTIONS = [
    found("v1", "Cat", LEFT, 0.8, 0),  # verified absent: false
    found("v2", "Cat", LEFT, 0.9, 0),  # nobody looked: neither right nor wrong, but where no animal is, no cat is
    found("v3", "Cat", LEFT, 0.5, 0),  # right
    found("v3", "Animal", LEFT, 0.7, 1),  # right where a cat is an animal
    found("v1", "Coffee cup", RIGHT, 0.95, 1),  # in a group: ignored
    found("v1", "Coffee cup", LEFT, 0.6, 2),  # right
    found("v2", "Coffee cup", LEFT, 0.55, 1),  # right
    found("v3", "Coffee cup", RIGHT, 0.99, 2),  # nobody looked
]


def scores(project, *args):
    """AP50 of masks, as `evaluate` writes it."""
    put(project, "detections", sorted(DETECTIONS, key=itemgetter("image_id")), part="train_detector")
    label_metric = {"protocol": "pseudo_labels", "kind": "mask", "group": "all", "metric": "iou", "value": 0.5}
    put(project, "label_metrics", [label_metric])
    put(project, "kept_labels", [])
    project.stage("evaluate", *args)
    folder = project.run.with_name("mini-by-hand") if args else project.run
    metrics = pd.read_parquet(folder / "metrics").query("metric == 'AP50' and kind == 'segm'")
    return {(row.protocol, row.group): row.value for row in metrics.itertuples()}


def test_labels_verified_absent_are_kept_beside_those_present(project):
    judged = pd.read_parquet(project.run / "judged")
    assert set(judged[judged.category == ""].image_id) == {*TRAIN, *VAL, "cc_0"}, "none was judged for all categories"
    of_val = judged[judged.image_id.isin(list(VAL)) & (judged.category != "")]
    assert sorted(zip(of_val.image_id, of_val.category, of_val.present)) == [
        ("v1", "Cat", False), ("v1", "Coffee cup", True),
        ("v2", "Animal", False), ("v2", "Coffee cup", True),
        ("v3", "Cat", True),
    ]  # fmt: skip
    labels = pd.read_parquet(project.run / "labels")
    assert ("v1", "Cat") not in set(zip(labels.image_id, labels.category))


def test_what_nobody_judged_is_neither_right_nor_wrong(project):
    """Cat: one false, one right below it: precision 1/2 at every recall. With v2's cat counted as false it were 1/3, with
    v1's ignored as well, 1. Coffee cup: its group and v3 ignored, both objects found: 1; with v3 false, 2/3."""
    values = scores(project)
    assert values["generalized", "base"] == pytest.approx(50)
    assert values["generalized", "novel"] == pytest.approx(100)
    assert values["generalized", "all"] == pytest.approx(75)


def test_by_the_hierarchy_a_cat_is_an_animal_and_no_animal_no_cat(project):
    """Cat: v1's and v2's false, v3's right: 1/3. Animal, which was not measured for want of objects: 1."""
    values = scores(project, "--hierarchy", "hierarchy.json", "--classes", "challenge.csv")
    assert values["generalized", "base"] == pytest.approx((100 / 3 + 100) / 2)
    assert values["generalized", "novel"] == pytest.approx(100)


def test_a_hierarchy_without_its_classes_is_one_line(project):
    put(project, "detections", sorted(DETECTIONS, key=itemgetter("image_id")), part="train_detector")
    put(project, "label_metrics")
    output = project.stage("evaluate", "--hierarchy", "hierarchy.json", check=False)
    assert "evaluate.classes is not" in output and "Traceback" not in output
    output = project.stage("evaluate", "--hierarchy", "challenge.csv", "--classes", "challenge.csv", check=False)
    assert "challenge.csv is no class hierarchy" in output and "Traceback" not in output


def test_pseudo_labels_of_what_nobody_judged_are_not_measured(project):
    """Of the training images: a cup on t3 is right; one on t2, where nobody looked for cups, says nothing; one on t1,
    where somebody saw that there is none, is false and first: precision 1/2. Counted, t2's would make it 1/3, and so would
    t4's, of which nothing is known, or the captioned picture's."""
    for table in ("nouns", "gradcam", "proposals", "pseudo_boxes", "wspn_proposals"):
        for shard in "01":
            put(project, table, part=shard)
    rows = [("cc_0", 0.99), ("t1", 0.8), ("t2", 0.9), ("t3", 0.5), ("t4", 0.95)]
    masks = [
        {
            "image_id": image_id,
            "category": "Coffee cup",
            "instance": 0,
            "box": [0, 0, 40, 40],
            "score": score,
            "rank": 0,
        }
        | {"coverage": 1.0, "segmentation": encode(half(0)), "area": 1600.0, "agreement": 1.0}
        for image_id, score in rows
    ]
    put(project, "pseudo_masks", masks, part="0")
    put(project, "pseudo_masks", part="1")
    project.stage("evaluate_labels")
    metrics = pd.read_parquet(project.run / "label_metrics").set_index(["protocol", "kind", "group", "metric"]).value
    assert metrics["pseudo_labels", "segm", "novel", "AP50"] == pytest.approx(50)
    assert metrics["pseudo_labels", "mask", "novel", "iou"] == pytest.approx(0.5), "of t1's and t3's"


def test_the_list_of_classes_says_what_is_counted(project):
    """Most objects are wheels, which the challenge's list leaves out."""
    split = json.loads((project.run / "categories" / "all.json").read_text())
    assert split["base"] == ["Cat", "Animal"] and split["novel"] == ["Coffee cup"]
    outlined = pd.read_parquet(project.run / "annotations")
    assert set(outlined.category) == {"Cat", "Animal", "Coffee cup"}
    counts = pd.read_parquet(project.run / "category_counts")
    assert dict(zip(counts.category, counts.objects)) == {"Animal": 2, "Cat": 3, "Coffee cup": 1}, "groups left out"


def test_the_shipped_configuration_takes_the_challenges_classes():
    config = yaml.safe_load((ROOT / "config" / "openimages.yaml").read_text())
    assert {config["ingest"][part]["classes"] for part in ("train", "val")} == {
        "challenge-2019-classes-description-segmentable.csv"
    }
