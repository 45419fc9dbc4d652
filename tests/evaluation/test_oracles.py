"""Average precision and the protocols against what is written out here, against pycocotools, and worked out by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation.average_precision import METRICS
from structures.masks import decode, encode
from tests.evaluation.from_lists import average_precision, protocol_scores

SIDE = 320  # of a picture: room for small, medium and large objects


def thing(image_id, category, x, y, w, h, half=False, side=SIDE, **more):
    """A rectangle, or with half=True the triangle below its diagonal: half the area in the same box."""
    mask = np.zeros((side, side), bool)
    ys, xs = np.mgrid[:h, :w]
    mask[y : y + h, x : x + w] = (xs * h <= ys * w) if half else True
    shape = {"bbox": [float(x), float(y), float(w), float(h)], "segmentation": encode(mask), "area": int(mask.sum())}
    return {"image_id": image_id, "category": category, "iscrowd": False, **shape, **more}


def random_world(seed, images=4):
    """Objects, some of them crowds, and detections near and far, of all of COCO's sizes, with distinct scores."""
    rng = np.random.default_rng(seed)
    truth, detections = [], []
    for image_id in map(str, range(images)):
        for category in ("cat", "dog"):
            for _ in range(int(rng.integers(1, 6))):
                w, h = (int(v) for v in rng.choice([20, 40, 70, 130], 2))
                x, y = (int(v) for v in rng.integers(0, (SIDE - w, SIDE - h)))
                half = bool(rng.random() < 0.5)
                truth.append(thing(image_id, category, x, y, w, h, half, iscrowd=bool(rng.random() < 0.2)))
                for _ in range(int(rng.integers(0, 4))):
                    dx, dy = (int(v) for v in rng.integers(-8, 9, 2))
                    x0, y0 = (int(np.clip(v, 0, SIDE - s)) for v, s in ((x + dx, w), (y + dy, h)))
                    name = category if rng.random() < 0.8 else "dog"
                    detections.append(thing(image_id, name, x0, y0, w, h, half, score=0.0))
    for row, score in zip(detections, rng.permutation(len(detections))):
        row["score"] = float(score + 1) / (len(detections) + 1)
    return {str(i): (SIDE, SIDE) for i in range(images)}, truth, detections


def mask_iou(detection, truth):
    """IoU of two rows' masks, counted in pixels; of a crowd the share of the detection that lies inside."""
    a, b = decode(detection["segmentation"]).astype(bool), decode(truth["segmentation"]).astype(bool)
    return (a & b).sum() / (a.sum() if truth["iscrowd"] else (a | b).sum())


def box_iou(detection, truth):
    """The same of their boxes."""
    (x0, y0, w0, h0), (x1, y1, w1, h1) = detection["bbox"], truth["bbox"]
    width, height = min(x0 + w0, x1 + w1) - max(x0, x1), min(y0 + h0, y1 + h1) - max(y0, y1)
    intersection = max(width, 0) * max(height, 0)
    return intersection / (w0 * h0 if truth["iscrowd"] else w0 * h0 + w1 * h1 - intersection)


def average_precision_50(images, truth, detections, category, iou, most=100):
    """AP50 of a category in percent: greedy matching best first, crowds forgive, 101 recalls (Lin et al., 2014)."""
    outcomes, objects = [], 0  # (score, whether it hits) of what counts
    for image_id in images:
        here = [row for row in truth if (row["image_id"], row["category"]) == (image_id, category)]
        single, crowds = [row for row in here if not row["iscrowd"]], [row for row in here if row["iscrowd"]]
        objects += len(single)
        found = set()
        own = [row for row in detections if (row["image_id"], row["category"]) == (image_id, category)]
        for row in sorted(own, key=lambda row: -row["score"])[:most]:
            overlaps = [(iou(row, single[i]), i) for i in range(len(single)) if i not in found]
            best, i = max(overlaps, default=(0, -1))
            if best >= 0.5:
                found.add(i)
                outcomes.append((row["score"], True))
            elif all(iou(row, crowd) < 0.5 for crowd in crowds):
                outcomes.append((row["score"], False))
    if not objects:
        return -1
    hits = np.array([hit for _, hit in sorted(outcomes, key=lambda outcome: -outcome[0])], float)
    recall, precision = hits.cumsum() / objects, hits.cumsum() / np.arange(1, len(hits) + 1)
    return 100 * np.mean([precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)])


@pytest.mark.parametrize(("kind", "iou"), [("bbox", box_iou), ("segm", mask_iou)])
def test_ap50_is_what_greedy_matching_gives(kind, iou):
    for seed in range(8):
        images, truth, detections = random_world(seed)
        groups = {"cat": ["cat"], "dog": ["dog"], "both": ["cat", "dog"]}
        ours = average_precision(images, truth, detections, groups, kind)
        expected = {name: average_precision_50(images, truth, detections, name, iou) for name in ("cat", "dog")}
        assert min(expected.values()) > 0
        for name, value in expected.items():
            assert ours[name]["AP50"] == pytest.approx(value)
        assert ours["both"]["AP50"] == pytest.approx(np.mean(list(expected.values())))


@pytest.mark.parametrize(("kind", "iou"), [("bbox", box_iou), ("segm", mask_iou)])
def test_the_best_hundred_detections_of_a_category_in_an_image_count(kind, iou):
    images = {"a": (40, 40)}
    truth = [thing("a", "cat", 2 * i, 0, 2, 2, side=40) for i in range(4)]
    far = [thing("a", "cat", i % 10 * 2, 20 + i // 10, 2, 1, side=40, score=0.9 - i / 1000) for i in range(98)]
    hits = [thing("a", "cat", 2 * i, 0, 2, 2, side=40, score=score) for i, score in enumerate((0.95, 0.3, 0.2, 0.1))]
    value = average_precision(images, truth, far + hits, {"g": ["cat"]}, kind)["g"]["AP50"]
    # 0.95, ninety-eight misses, 0.3: two of four found, of a hundred; 0.2 and 0.1 are beyond the hundred
    assert value == pytest.approx(100 * (26 * 1 + 25 * 2 / 100) / 101)
    assert value == pytest.approx(average_precision_50(images, truth, far + hits, "cat", iou))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_every_metric_is_that_of_cocos_own_evaluation_of_such_results(kind):
    """Results of boxes have boxes alone, results of masks masks alone, as COCO's server takes them."""
    key = {"bbox": "bbox", "segm": "segmentation"}[kind]
    for seed in range(4):
        images, truth, detections = random_world(seed)
        number = {"cat": 1, "dog": 2}

        def rows(rows, *keys, number=number):
            return [
                {"image_id": int(row["image_id"]) + 1, "category_id": number[row["category"]]}
                | {name: row[name] for name in keys}
                for row in rows
            ]

        annotations = rows(truth, "bbox", "segmentation", "area", "iscrowd")
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = {
                "info": {},
                "images": [{"id": int(i) + 1, "height": SIDE, "width": SIDE} for i in images],
                "categories": [{"id": i, "name": name} for name, i in number.items()],
                "annotations": [row | {"id": i} for i, row in enumerate(annotations, start=1)],
            }
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(rows(detections, key, "score")), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        ours = average_precision(images, truth, detections, {"both": ["cat", "dog"]}, kind)["both"]
        expected = [100 * v if v >= 0 else -1 for v in evaluation.stats[: len(METRICS)]]
        assert [ours[name] for name in METRICS] == pytest.approx(expected)


def test_a_missing_masks_size_is_its_own_and_not_its_boxes():
    """A false triangle of 800 pixels in a box of 1,600 is small: it counts against APs of masks, not of boxes."""
    images = {"a": (SIDE, SIDE)}
    truth = [thing("a", "cat", 0, 0, 20, 20), thing("a", "cat", 100, 100, 60, 60)]
    right = [row | {"score": 0.5} for row in truth]
    false = thing("a", "cat", 200, 200, 40, 40, half=True, score=0.9)
    assert false["area"] < 32**2 and 40 * 40 > 32**2
    values = {k: average_precision(images, truth, [*right, false], {"g": ["cat"]}, k)["g"] for k in ("bbox", "segm")}
    assert (values["segm"]["APs"], values["segm"]["APm"]) == pytest.approx((50, 100))
    assert (values["bbox"]["APs"], values["bbox"]["APm"]) == pytest.approx((100, 50))


def test_constrained_and_generalized_scores_of_a_case_worked_out_by_hand():
    """Base: car, dog; novel: cat; tree is neither. Five images, of which e holds no base or novel object."""
    images = {name: (SIDE, SIDE) for name in "abcde"}
    truth = [
        thing("a", "car", 0, 0, 40, 40),
        thing("a", "cat", 100, 100, 40, 40),
        thing("b", "cat", 0, 0, 40, 40),
        thing("c", "dog", 0, 0, 40, 40),
        thing("d", "car", 0, 0, 40, 40),
        thing("d", "cat", 100, 0, 200, 200, iscrowd=True),
        thing("e", "tree", 0, 0, 40, 40),
    ]
    # With all names the cat of b is taken for a dog. In c and e something false is taken for a cat.
    all_names = [
        thing("a", "car", 0, 0, 40, 40, score=0.9),
        thing("a", "cat", 100, 100, 40, 40, score=0.8),
        thing("b", "dog", 0, 0, 40, 40, score=0.95),
        thing("c", "dog", 0, 0, 40, 40, score=0.7),
        thing("c", "cat", 200, 200, 40, 40, score=0.85),
        thing("d", "cat", 120, 20, 40, 40, score=0.99),  # inside the crowd: neither right nor wrong
        thing("e", "cat", 0, 0, 40, 40, score=0.97),  # on an image that does not count
    ]
    # With novel names alone everything is a cat: the cars and the dog, too.
    novel_names = [
        thing("a", "cat", 0, 0, 40, 40, score=0.6),
        thing("a", "cat", 100, 100, 40, 40, score=0.8),
        thing("b", "cat", 0, 0, 40, 40, score=0.7),
        thing("c", "cat", 0, 0, 40, 40, score=0.95),  # holds no cat: does not count
        thing("d", "cat", 0, 0, 40, 40, score=0.65),  # holds a crowd of cats: counts, and is wrong
    ]
    # With base names alone the cat of a is a dog and the cat of b a car.
    base_names = [
        thing("a", "car", 0, 0, 40, 40, score=0.9),
        thing("a", "dog", 100, 100, 40, 40, score=0.8),
        thing("b", "car", 0, 0, 40, 40, score=0.99),  # holds no base object: does not count
        thing("c", "dog", 0, 0, 40, 40, score=0.7),
        thing("d", "car", 200, 200, 40, 40, score=0.6),  # wrong; the car of d is not found
    ]
    by_names = {"all": all_names, "novel": novel_names, "base": base_names}
    rows = protocol_scores(images, truth, by_names, ["car", "dog"], ["cat"])
    values = {(r["protocol"], r["kind"], r["group"]): r["value"] for r in rows if r["metric"] == "AP50"}
    half = 100 * 51 / 101  # found one of two, nothing wrong before it: the 51 recalls from 0 to 0.5
    expected = {
        # car: one of two, right: half. dog: wrong at 0.95, right at 0.7: precision 1/2 at every recall.
        ("generalized", "base"): (half + 50) / 2,
        # cat: wrong at 0.85 (c), right at 0.8; one of two: 1/2 at 51 recalls.
        ("generalized", "novel"): half / 2,
        ("generalized", "all"): (half + 50 + half / 2) / 3,
        # a and b and d: right at 0.8 and 0.7, then wrong twice.
        ("constrained", "novel"): 100,
        # a, c and d: car as above; dog: wrong at 0.8, right at 0.7.
        ("constrained", "base"): (half + 50) / 2,
        # each category alone, of generalized
        ("generalized_base", "car"): half,
        ("generalized_base", "dog"): 50,
        ("generalized_novel", "cat"): half / 2,
    }
    for (protocol, group), value in expected.items():
        for kind in ("bbox", "segm"):
            assert values[protocol, kind, group] == pytest.approx(value), (protocol, kind, group)
    assert len(values) == 2 * len(expected)


def test_what_is_detected_beside_a_lone_crowd_is_wrong():
    """An image that holds a base category's crowd alone is one of those that count (XPM, 4.1)."""
    images = {"a": (SIDE, SIDE), "b": (SIDE, SIDE)}
    truth = [thing("a", "cat", 0, 0, 40, 40), thing("b", "car", 0, 0, 100, 100, iscrowd=True)]
    detections = [thing("a", "cat", 0, 0, 40, 40, score=0.5), thing("b", "cat", 200, 200, 40, 40, score=0.9)]
    rows = protocol_scores(images, truth, {"all": detections, "novel": detections}, ["car"], ["cat"])
    values = {(r["protocol"], r["kind"], r["group"]): r["value"] for r in rows if r["metric"] == "AP50"}
    assert values["generalized", "segm", "novel"] == pytest.approx(50)
    assert values["constrained", "segm", "novel"] == pytest.approx(100)
    assert values["generalized", "segm", "base"] == values["constrained", "segm", "base"] == -1
