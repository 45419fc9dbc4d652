"""Average precision by LVIS' rules, against what lvis-api gives on the same made-up annotations and detections
(tests/data/make_lvis_scores.py)."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluation.average_precision import METRICS
from evaluation.judged import Judges, of_judged
from sources.lvis import read_part
from sources.vocabulary import read_vocabulary
from tests.evaluation.from_lists import average_precision

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "lvis_scores.json").read_text())
MOST = 300  # detections of an image, best first, of all categories: as stages/detect.py keeps them


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Images, annotations, judged rows and vocabulary by this project's reader; detections by the reader's names."""
    root = tmp_path_factory.mktemp("lvis")
    (root / "lvis.json").write_text(json.dumps(GOLDEN["truth"]))
    part = read_part(root, SimpleNamespace(images=".", instances="lvis.json", captions=""))
    sizes = {image_id: (height, width) for image_id, (_, width, height) in part.images.items()}
    annotations, judged = list(part.annotations(sizes.get)), list(part.judged)
    judged += [
        {"image_id": row["image_id"], "category": row["category"], "present": True, "exhaustive": True}
        for row in annotations
    ]
    judged += [{"image_id": i, "category": "", "present": False, "exhaustive": True} for i in sizes]  # as ingest adds
    names = {row["id"]: row["name"].replace("_", " ") for row in GOLDEN["truth"]["categories"]}
    detections = [
        row | {"image_id": str(row["image_id"]), "category": names[row["category_id"]]} for row in GOLDEN["detections"]
    ]
    kept = {i: [row for row in detections if row["image_id"] == i] for i in sizes}
    best = [row for rows in kept.values() for row in sorted(rows, key=lambda row: -row["score"])[:MOST]]
    assert len(best) < len(detections)
    return sizes, annotations, judged, read_vocabulary(root / "lvis.json"), best


def scores(world, kind, leave_out=(), **given):
    sizes, annotations, judged, vocabulary, detections = world
    frequent = {row["name"].replace("_", " "): row["frequency"] for row in GOLDEN["truth"]["categories"]}
    groups = {f"AP{letter}": [name for name, of in frequent.items() if of == letter] for letter in "rcf"}
    assert sorted(groups["APr"]) == sorted(vocabulary.novel)
    assert sorted(groups["APc"] + groups["APf"]) == sorted(vocabulary.base)
    judges, of_image = Judges(), {i: [row for row in judged if row["image_id"] == i] for i in sizes}
    partial = {(i, category) for i, rows in of_image.items() for category in judges.not_exhaustive(rows)}
    options = {"not_exhaustive": partial, "max_detections": MOST} | given
    if "judged" not in leave_out:
        detections = [
            row
            for i, rows in of_image.items()
            for row in of_judged([row for row in detections if row["image_id"] == i], judges.judged(i, rows))
        ]
    found = average_precision(sizes, annotations, detections, groups | {"all": list(frequent)}, kind, **options)
    return {metric: found["all"][metric] for metric in METRICS} | {name: found[name]["AP"] for name in groups}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_scores_are_those_of_lvis_own_evaluation(world, kind):
    expected = {name: 100 * value if value >= 0 else -1 for name, value in GOLDEN["scores"][kind].items()}
    assert scores(world, kind) == pytest.approx(expected, abs=1e-9)
    assert len(set(expected.values())) == len(expected) and min(expected.values()) > 0, "each says something of its own"


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_each_rule_changes_the_scores(world, kind):
    """Else the numbers above would hold without it."""
    right = scores(world, kind)["AP"]
    assert scores(world, kind, not_exhaustive=frozenset())["AP"] < right
    assert scores(world, kind, leave_out=("judged",))["AP"] < right
    assert scores(world, kind, max_detections=20)["AP"] != pytest.approx(right)
