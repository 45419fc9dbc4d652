"""The way out and back: labels are exported, people decide, and what comes after is made of that."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline.config import checked
from pipeline.lineage import parents
from pipeline.workflow import Workflow
from structures.errors import UserError
from structures.masks import decode, encode
from tests.conftest import Project, forked
from tests.faults.test_configs import order
from tests.stages.test_open_images import put

PICTURES = {"a.png": 'a cat and a "<b>cup</b>"', "<script>.png": "a cat, a cup", "c.png": "two cats", "d.png": "a cup"}


def mask_of(name, category):
    rows, columns = np.mgrid[:60, :80]
    x, y = {"cat": (25, 30), "cup": (60, 40)}[category]
    return np.hypot(columns - x, rows - y) < 9 + len(name)


@pytest.fixture()
def labelled(tmp_path):
    """A folder of four pictures and its pseudo-labels, as if a run had made them."""
    root = tmp_path / "pictures"
    root.mkdir()
    for name in PICTURES:
        Image.fromarray(np.full((60, 80, 3), len(name) * 9, np.uint8)).save(root / name)
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *PICTURES.items()])
    (root / "words.json").write_text(json.dumps({"base": ["cat"], "novel": ["cup"]}))
    part = {"format": "folder", "images": ".", "captions": "captions.csv"}
    config = {"run": "mini", "root": str(root), "vocabulary": str(root / "words.json"), "ingest": {"train": part}}
    project = Project(tmp_path, config | {"detectors": ["train_detector"]})
    for stage in ("ingest", "categories", "nouns"):
        project.stage(stage)
    rows = []
    for name, caption in sorted(PICTURES.items()):
        for category in ("cat", "cup"):
            if category in caption:
                rle = encode(mask_of(name, category))
                row = {"image_id": name, "category": category, "instance": 0, "box": [1, 1, 70, 59], "rank": 0}
                row |= {"score": 30.0 + len(rows), "coverage": 1.0, "segmentation": rle, "agreement": 0.5}
                rows.append(row | {"area": float(decode(rle).sum())})
    put(project, "pseudo_masks", rows, part="0")
    project.stage("pseudo_labels")
    return project


def table(project, run="mini"):
    return pd.read_parquet(project.folder / "data/runs" / run / "kept_labels")


def bytes_of(project, run="mini"):
    [file] = (project.folder / "data/runs" / run / "kept_labels").glob("*.parquet")
    return file.read_bytes()


def handed_out(project, *args):
    config = str(project.folder / "config" / "config.yaml")
    code, said = forked(["pipeline", "export", "--configfile", config, *args], project.folder, Project._environment())
    assert "Traceback" not in said
    return code, said


def decided(project, file, *args, check=True):
    """What is said where the decisions are laid over the labels, and the labels made of them."""
    project.config["review"] = {"decisions": str(file)} | dict(args)
    project.write_config()
    said = project.stage("review", check=check)
    if check:
        said += project.stage("pseudo_labels")
    return said


def test_confidence_is_the_rank_of_the_score_and_coco_has_it(labelled):
    frame = table(labelled)
    assert frame.confidence.tolist() == pytest.approx(pd.Series(range(len(frame))).rank(pct=True).tolist())
    coco = COCO(str(labelled.run / "pseudo_labels" / "all.json"))
    assert [row["score"] for row in coco.loadAnns(sorted(coco.anns))] == frame.confidence.tolist()
    assert [image["original_id"] for image in coco.loadImgs(sorted(coco.imgs))] == sorted(PICTURES)


def test_what_nobody_touched_comes_back_to_the_same_bytes_and_nothing_after_it_runs_again(labelled, tmp_path):
    before = bytes_of(labelled)
    code, said = handed_out(labelled, "--to", "label_studio", "--out", "out")
    assert code == 0 and "6 labels of 4 pictures" in said
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [task["data"]["caption"] for task in tasks] == [PICTURES[name] for name in sorted(PICTURES)]
    (tmp_path / "back.json").write_text(json.dumps([task | {"id": 1, "annotations": []} for task in tasks]))
    said = decided(labelled, tmp_path / "back.json")
    assert bytes_of(labelled) == before and "6 not looked at" in said


def test_three_are_dropped_and_one_is_mended(labelled, tmp_path):
    mended = json.dumps(encode(mask_of("d.png", "cat")))
    rows = [
        ("image_id", "category", "instance", "decision", "segmentation", "by"),
        ("a.png", "cat", 0, "drop", "", "ann"),
        ("a.png", "cup", 0, "drop", "", "ann"),
        ("c.png", "cat", 0, "drop", "", "ann"),
        ("d.png", "cup", 0, "mask", mended, "bob"),
    ]
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    said = decided(labelled, tmp_path / "d.csv")
    assert "3 dropped, 1 mask, 2 not looked at" in said
    frame = table(labelled).set_index(["image_id", "category"])
    assert set(frame.index) == {("<script>.png", "cat"), ("<script>.png", "cup"), ("d.png", "cup")}
    own = frame.loc[("d.png", "cup")]
    assert (own.decided_by, own.confidence) == ("bob", 1.0)
    assert np.array_equal(decode(own.segmentation), mask_of("d.png", "cat"))
    rejects = pd.read_parquet(labelled.run / "review" / "_rejects")
    assert set(rejects.reason) == {"dropped"} and rejects.detail[0] == "by ann (line 2)"


def test_a_decision_that_does_not_fit_changes_nothing(labelled, tmp_path):
    (tmp_path / "d.csv").write_text("image_id,category,instance,decision\na.png,cat,0,drop\na.png,dog,0,drop\n")
    said = decided(labelled, tmp_path / "d.csv", check=False)
    assert "line 3: there is no label 'dog' 0 of image 'a.png'" in said and "Traceback" not in said
    assert not list(labelled.run.glob("reviewed_masks/*"))


def test_the_worst_are_handed_out_with_all_labels_of_their_pictures(labelled, tmp_path):
    code, _ = handed_out(labelled, "--to", "cvat", "--worst", "1", "--out", "out", "--no-pictures")
    content = json.loads((tmp_path / "out" / "instances_default.json").read_text())
    assert code == 0 and [image["original_id"] for image in content["images"]] == ["<script>.png"]
    assert len(content["annotations"]) == 2 and not (tmp_path / "out" / "images").exists()
    code, said = handed_out(labelled, "--to", "cvat", "--out", "out")
    assert code != 0 and "out is there already: name another folder with --out" in said
    code, said = handed_out(labelled, "--to", "cvat", "--run", "gone", "--out", "new")
    assert code != 0 and "is not there: run `snakemake" in said


def test_a_run_exports_the_formats_that_it_is_asked_for(labelled):
    said = labelled.stage(
        "export", "--into", "mini", "--formats", "[coco, yolo, huggingface, label_studio, cvat, lvis]"
    )
    assert "Traceback" not in said
    folder = labelled.run / "export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "coco", "cvat", "huggingface", "label_studio", "lvis", "yolo",
    ]  # fmt: skip
    coco = COCO(str(folder / "coco" / "instances.json"))
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]["original_id"]
        category = coco.cats[annotation["category_id"]]["name"]
        assert np.array_equal(coco.annToMask(annotation), mask_of(image, category))
    assert len(list((folder / "yolo" / "images").iterdir())) == 4
    lvis = json.loads((folder / "lvis" / "lvis.json").read_text())
    looked_for = {row["original_id"]: row["not_exhaustive_category_ids"] for row in lvis["images"]}
    assert looked_for == {"a.png": [1, 2], "<script>.png": [1, 2], "c.png": [1], "d.png": [2]}
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    labelled.stage(
        "export", "--into", "mini", "--recompute", "--formats", "[coco, yolo, huggingface, label_studio, cvat, lvis]"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first


def stages_asked(config) -> set[str]:
    flow = Workflow(config, order())
    return {Path(path).parts[-2] for path in flow.goals("report", scores="evaluate", exports="export")}


def test_neither_costs_anything_where_it_is_not_asked_for(labelled):
    assert "export" not in stages_asked(labelled.config)
    assert "export" in stages_asked(labelled.config | {"export": {"formats": ["coco"]}})
    assert "review" not in parents("pseudo_labels", checked(labelled.config))
    reviewed = checked(labelled.config | {"review": {"decisions": "x.csv"}})
    assert parents("pseudo_labels", reviewed) == ["ingest", "review", "categories"]
    learnt = {"student_labels": {"labels": "ovis"}, "detectors": ["train_student"], "review": {"decisions": "x.csv"}}
    assert parents("student_labels", checked(labelled.config | learnt))[1] == "review"


def test_decisions_about_labels_that_nobody_learns_from_are_told(labelled):
    config = labelled.config | {"detectors": ["train_teacher"], "review": {"decisions": "x.csv"}}
    with pytest.raises(UserError, match=r"review.decisions is set, but no detector of this run learns from"):
        Workflow(config, order()).check_files({"train_teacher"})
