"""The protocols on a hand-made case, and against pycocotools called directly."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from structures.masks import encode
from tests.evaluation.from_lists import protocol_scores

IMAGES = {"1": (40, 40), "2": (40, 40), "3": (40, 40)}


def square(image_id, category, x, y, side=10, **more):
    mask = np.zeros((40, 40), bool)
    mask[y : y + side, x : x + side] = True
    shape = {"bbox": [float(x), float(y), float(side), float(side)], "segmentation": encode(mask), "area": side * side}
    return {"image_id": image_id, "category": category, "iscrowd": False, **shape, **more}


def scores(truth, **detections):
    rows = protocol_scores(IMAGES, truth, detections, ["car"], ["cat"])
    return {(r["protocol"], r["kind"], r["group"], r["metric"]): r["value"] for r in rows}


def test_images_without_novel_objects_count_in_generalized_and_not_in_constrained():
    truth = [square("1", "cat", 2, 2), square("2", "car", 20, 20)]
    right = square("1", "cat", 2, 2, score=0.5)
    false = square("2", "cat", 5, 5, score=0.9)  # on an image that holds no cat
    values = scores(truth, all=[right, false], novel=[right, false], base=[])
    assert values["constrained", "segm", "novel", "AP50"] == pytest.approx(100)
    assert values["generalized", "segm", "novel", "AP50"] == pytest.approx(50, abs=0.5)


def test_each_category_has_its_own_precision_when_all_compete():
    truth = [square("1", "cat", 2, 2), square("2", "car", 20, 20)]
    values = scores(truth, all=[square("1", "cat", 2, 2, score=0.5)], novel=[], base=[])
    assert values["generalized_novel", "segm", "cat", "AP50"] == values["generalized", "segm", "novel", "AP50"]
    assert values["generalized_base", "segm", "car", "AP50"] == 0
    assert {key[3] for key in values if key[2] in ("cat", "car")} == {"AP50"}


def test_a_base_detection_on_a_novel_image_counts_against_base_in_generalized():
    truth = [square("1", "cat", 2, 2), square("2", "car", 20, 20)]
    right = square("2", "car", 20, 20, score=0.5)
    false = square("1", "car", 2, 2, score=0.9)
    values = scores(truth, all=[right, false], base=[right, false], novel=[])
    assert values["generalized", "bbox", "base", "AP50"] == pytest.approx(50, abs=0.5)
    assert values["constrained", "bbox", "base", "AP50"] == pytest.approx(100)


def test_an_image_without_any_known_object_counts_nowhere_and_crowds_forgive():
    truth = [square("1", "cat", 2, 2), square("1", "cat", 20, 20, side=15, iscrowd=True), square("3", "tree", 0, 0)]
    detections = [
        square("1", "cat", 2, 2, score=0.5),
        square("3", "cat", 3, 3, score=0.9),
        square("1", "cat", 22, 22, score=0.8),
    ]
    values = scores(truth, all=detections, novel=detections, base=[])
    assert values["generalized", "segm", "novel", "AP50"] == pytest.approx(100)
    assert values["generalized", "segm", "base", "AP50"] == -1


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_values_are_those_of_pycocotools(kind):
    rng = np.random.default_rng(4)
    truth, detections = [], []
    for image_id in IMAGES:
        for category in ("car", "cat"):
            for _ in range(3):
                x, y, side = (int(v) for v in rng.integers((0, 0, 5), (25, 25, 15)))
                truth.append(square(image_id, category, x, y, side))
                dx, dy = (int(v) for v in rng.integers(0, 4, 2))
                name = category if rng.random() < 0.8 else "cat"
                detections.append(square(image_id, name, x + dx, y + dy, side, score=float(rng.random())))
    gt = COCO()
    number = {"car": 1, "cat": 2}
    gt.dataset = {
        "images": [{"id": int(i), "height": 40, "width": 40} for i in IMAGES],
        "categories": [{"id": i, "name": name} for name, i in number.items()],
        "annotations": [
            row | {"id": i, "image_id": int(row["image_id"]), "category_id": number[row["category"]], "iscrowd": 0}
            for i, row in enumerate(truth, start=1)
        ],
        "info": {},
    }
    gt.createIndex()
    keys = (
        ("image_id", "category_id", "score", "bbox")
        if kind == "bbox"
        else ("image_id", "category_id", "score", "segmentation")
    )
    rows = [row | {"image_id": int(row["image_id"]), "category_id": number[row["category"]]} for row in detections]
    ours = scores(truth, all=detections)
    for group, ids in (("base", [1]), ("novel", [2]), ("all", [1, 2])):
        evaluation = COCOeval(gt, gt.loadRes([{key: row[key] for key in keys} for row in rows]), kind)
        evaluation.params.catIds = ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        for i, metric in enumerate(("AP", "AP50", "AP75")):
            expected = evaluation.stats[i]
            assert ours["generalized", kind, group, metric] == pytest.approx(100 * expected if expected >= 0 else -1)
