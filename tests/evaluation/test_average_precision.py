"""Average precision of cases known by hand."""

import numpy as np
import pytest

from evaluation.average_precision import average_precision
from structures.masks import encode


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
