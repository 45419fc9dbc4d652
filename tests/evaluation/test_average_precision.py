"""Average precision of cases known by hand."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from structures.masks import encode
from tests.evaluation.from_lists import average_precision


def square(x, y, w, h, size=(40, 40)):
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    return {"bbox": [x, y, w, h], "segmentation": encode(mask), "area": w * h, "iscrowd": 0}


def test_average_precision_of_a_case_known_by_hand():
    truth = [
        {"image_id": "a", "category": "cat", **square(0, 0, 20, 20)},
        {"image_id": "b", "category": "cat", **square(0, 0, 20, 20)},
    ]
    hit = {"image_id": "a", "category": "cat", "score": 0.9, **square(0, 0, 20, 20)}
    miss = {"image_id": "b", "category": "cat", "score": 0.95, **square(20, 20, 20, 20)}
    images = {"a": (40, 40), "b": (40, 40)}
    for kind in ("bbox", "segm"):

        def ap50(images, detections, category="cat", kind=kind):
            return average_precision(images, truth, detections, {"group": [category]}, kind)["group"]["AP50"]

        assert ap50(images, [hit]) == pytest.approx(100 * 51 / 101)
        assert ap50(images, [hit, miss]) == pytest.approx(50 * 51 / 101)
        assert ap50({"a": (40, 40)}, [hit, miss]) == pytest.approx(100)
        assert ap50(images, []) == 0
        assert ap50(images, [hit], "dog") == -1


def test_groups_measured_together_have_the_scores_of_each_alone():
    rng = np.random.default_rng(0)

    def objects(count):
        for _ in range(count):
            x, y, w, h = (int(v) for v in rng.integers(1, 20, 4))
            yield {
                "image_id": str(rng.integers(6)),
                "category": str(rng.choice(["cat", "dog", "bus"])),
                **square(x, y, w, h),
            }

    truth = list(objects(40))
    detections = [row | {"score": float(rng.random())} for row in truth[::2]] + [
        row | {"score": float(rng.random())} for row in objects(30)
    ]
    images = {str(i): (40, 40) for i in range(6)}
    groups = {"animals": ["cat", "dog"], "all": ["cat", "dog", "bus"], "none": ["cup"]}
    for kind in ("bbox", "segm"):
        together = average_precision(images, truth, detections, groups, kind)
        for group, categories in groups.items():
            assert together[group] == pytest.approx(
                average_precision(images, truth, detections, {group: categories}, kind)[group]
            )
        assert 0 < together["animals"]["AP50"] != together["all"]["AP50"] > 0 and together["none"]["AP"] == -1


def test_more_images_than_are_matched_together_have_the_scores_of_pycocotools():
    """Of one score for several detections, which all that order decides, too."""
    rng = np.random.default_rng(5)
    images = {f"{i:03d}": (40, 40) for i in range(130)}

    def objects(image_id):
        for _ in range(int(rng.integers(0, 4))):
            x, y, w, h = (int(v) for v in rng.integers(1, 20, 4))
            crowd = int(rng.random() < 0.1)
            yield {"image_id": image_id, "category": str(rng.choice(["cat", "dog"])), **square(x, y, w, h)} | {
                "iscrowd": crowd
            }

    truth = [row for image_id in images for row in objects(image_id)]
    found = [*truth[::2], *(row for image_id in images for row in objects(image_id))]
    detections = [row | {"score": int(rng.integers(8)) / 8} for row in found]
    number, image_number = {"cat": 1, "dog": 2}, {image_id: i for i, image_id in enumerate(images, start=1)}
    numbered = [
        [row | {"image_id": image_number[row["image_id"]], "category_id": number[row["category"]]} for row in rows]
        for rows in (truth, sorted(detections, key=lambda row: row["image_id"]))
    ]
    for kind, key in (("bbox", "bbox"), ("segm", "segmentation")):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i, "height": 40, "width": 40} for i in image_number.values()],
            "categories": [{"id": i, "name": name} for name, i in number.items()],
            "annotations": [row | {"id": i} for i, row in enumerate(numbered[0], start=1)],
        }
        coco.createIndex()
        results = [{name: row[name] for name in ("image_id", "category_id", "score", key)} for row in numbered[1]]
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        ours = average_precision(images, truth, detections, {"both": ["cat", "dog"]}, kind)["both"]
        assert list(ours.values()) == [value * 100 if value >= 0 else -1 for value in evaluation.stats[:6]]
