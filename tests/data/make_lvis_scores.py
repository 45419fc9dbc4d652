"""Writes lvis_scores.json, made-up LVIS annotations and detections with the scores that lvis-api 0.5.3 gives them.

    python -m venv --system-site-packages SCRATCH; SCRATCH/bin/pip install --no-deps lvis==0.5.3
    SCRATCH/bin/python tests/data/make_lvis_scores.py

Drawn from a seed so that there is of everything: categories annotated not exhaustively, absent, and not looked for; detections
with equal scores, twice on one object, and more than 300 in an image; an image without an object, a category without one; small,
medium and large objects, boxes that differ from their masks.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

SIDE, SEED = 160, 11
FREQUENCIES = {1: "r", 2: "r", 4: "c", 5: "c", 7: "f", 8: "f", 9: "f"}  # by category id
NEVER_THERE = 9
NAMES = {category: f"thing_({category})" for category in FREQUENCIES}


def shape(x: int, y: int, width: int, height: int) -> dict:
    """An ellipse in a box, as far as both lie in the picture."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = ((columns - x - width / 2) / (width / 2)) ** 2 + ((rows - y - height / 2) / (height / 2)) ** 2 <= 1
    rle = coco_mask.encode(np.asfortranarray(inside, np.uint8))
    segmentation = {"size": [SIDE, SIDE], "counts": rle["counts"].decode()}
    return {"bbox": [x, y, width, height], "segmentation": segmentation}


def drawn(rng: np.random.Generator) -> tuple[dict, list[dict]]:
    """LVIS' annotations, and detections."""
    images, annotations, detections = [], [], []
    known = [category for category in FREQUENCIES if category != NEVER_THERE]

    def detect(image_id: int, category: int, place: list[int], decimals: int) -> None:
        x, y, width, height = place
        moved = [x + int(rng.integers(-3, 4)), y + int(rng.integers(-3, 4)), width, height]
        score = round(float(rng.random()), decimals)
        row = {"image_id": image_id, "category_id": category, "score": score}
        detections.append(row | shape(max(0, moved[0]), max(0, moved[1]), *moved[2:]))

    for image_id in range(101, 113):  # of one length: with equal scores the order of ids counts, which are texts here
        there = [] if image_id == 105 else [int(v) for v in rng.choice(known, 3, replace=False)]
        others = [int(v) for v in rng.permutation([c for c in FREQUENCIES if c not in there])]
        lists = {"neg_category_ids": others[:2], "not_exhaustive_category_ids": there[:1]}
        if image_id == 107:
            lists["not_exhaustive_category_ids"] = there + others[2:3]  # one of them without an object
        size = {"height": SIDE, "width": SIDE, "coco_url": f"http://images.cocodataset.org/val2017/{image_id:012d}.jpg"}
        images.append({"id": image_id} | size | lists)
        for category in there:
            for _ in range(int(rng.integers(1, 4))):
                width, height = (int(v) for v in rng.choice([12, 24, 50, 130], 2))
                place = [int(rng.integers(0, SIDE - side + 1)) for side in (width, height)] + [width, height]
                outline = shape(*place)
                area = float(coco_mask.area(outline["segmentation"]))
                annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category, "area": area}
                annotations.append(annotation | outline)
                for _ in range(int(rng.integers(0, 3))):
                    detect(image_id, category, place, 1)
        for category in FREQUENCIES:
            for _ in range(int(rng.integers(0, 3))):
                detect(image_id, category, [int(v) for v in rng.integers(10, 100, 2)] + [20, 30], 1)
    for _ in range(330):
        detect(103, int(rng.choice(list(FREQUENCIES)[:3])), [int(v) for v in rng.integers(10, 130, 2)] + [9, 9], 3)
    categories = [
        {"id": category, "name": NAMES[category], "frequency": frequency, "synonyms": [NAMES[category]]}
        for category, frequency in FREQUENCIES.items()
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, detections


def scores(truth: dict, detections: list[dict]) -> dict[str, dict[str, float]]:
    """What lvis-api says, by kind."""
    np.float = float  # which it takes from older numpys
    from lvis import LVIS, LVISEval, LVISResults

    values = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "truth.json"
        file.write_text(json.dumps(truth))
        for kind, key in (("bbox", "bbox"), ("segm", "segmentation")):
            rows = [{name: row[name] for name in ("image_id", "category_id", "score", key)} for row in detections]
            known = LVIS(str(file))
            evaluation = LVISEval(known, LVISResults(known, rows), kind)
            evaluation.run()
            values[kind] = {name: float(value) for name, value in evaluation.get_results().items() if name[:2] == "AP"}
    return values


if __name__ == "__main__":
    truth, detections = drawn(np.random.default_rng(SEED))
    content = {"truth": truth, "detections": detections, "scores": scores(truth, detections)}
    text = json.dumps(content, separators=(",", ":"))
    Path(__file__).with_name("lvis_scores.json").write_text(text.replace('{"id"', '\n{"id"').replace('{"image_id"', '\n{"image_id"') + "\n")
