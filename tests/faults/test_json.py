"""COCO's JSON with changed bytes and members: each row with what is its own, or a fault; nothing is passed over."""

import json
from types import SimpleNamespace

import pytest

from schemas.tables import TABLES
from sources.coco import read_part
from sources.openimages_classes import read_hierarchy
from sources.part import Fault, SourceError, text_fault
from store.parquet import TableWriter
from structures.masks import decode
from tests.faults.mutations import mutated_bytes, mutated_tree

pytestmark = pytest.mark.faults
IMAGES = [{"id": i, "file_name": f"{i}.jpg", "width": 10 + i, "height": 12} for i in (1, 2, 3)]
SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]
RUNS = [{"size": [12, 12], "counts": [20, 4, 8, 4, 108]}, {"size": [12, 13], "counts": "k03930000"}]
CAPTIONS = {
    "images": IMAGES,
    "annotations": [{"id": i, "image_id": 1 + i % 3, "caption": f"a cat, {i} cups"} for i in range(6)],
}
INSTANCES = {
    "images": IMAGES,
    "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "cup"}],
    "annotations": [
        {"id": i, "image_id": 1 + i, "category_id": (1, 7)[i % 2], "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": i // 2,
         "segmentation": [SQUARE, *RUNS][i]}
        for i in range(3)
    ],
}  # fmt: skip
PART = SimpleNamespace(images="pictures", instances="instances.json", captions="captions.json")


def one_line(error: Exception, *names: str) -> None:
    text = str(error)
    text.encode()
    assert len(text.splitlines()) == 1 and len(text) < 1200 and any(name in text for name in names), text


def outcome(root) -> str:
    try:
        part = read_part(root, PART)
    except SourceError as error:
        one_line(error, "instances.json", "captions.json")
        return "refused"
    contents = {name: json.loads((root / f"{name}.json").read_bytes()) for name in ("instances", "captions")}
    captions, annotations = list(part.captions), list(part.annotations(lambda image_id: None))
    rows = len(contents["captions"]["annotations"]) + len(contents["instances"]["annotations"])
    of_images = [fault for fault in part.faults if "images[" in fault.detail]
    assert len(captions) + len(annotations) + len(part.faults) - len(of_images) == rows, "a row is passed over"
    own = {
        (number_as_text(row.get("image_id")), row["caption"].strip())
        for row in contents["captions"]["annotations"]
        if isinstance(row, dict) and isinstance(row.get("caption"), str)
    }
    assert {(row["image_id"], row["text"]) for row in captions} <= own, "a caption of another image"
    for row in annotations:
        _, width, height = part.images[row["image_id"]]
        assert decode(row["segmentation"]).shape == (height, width)
    for table, found in (("captions", captions), ("annotations", annotations)):
        key = TABLES[table].key
        assert len({tuple(row[name] for name in key) for row in found}) == len(found)
        writer = TableWriter(root / f"{table}.parquet", TABLES[table].schema, 100)
        for row in found:
            if text_fault(row) is None:
                writer.add(**row)
        writer.close()
    assert all(isinstance(fault, Fault) for fault in part.faults)
    return "read"


def number_as_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value == value and abs(value) != float("inf") else str(value)


def hierarchy(root) -> str:
    try:
        found = read_hierarchy(root / "hierarchy.json", root / "classes.csv")
    except SourceError as error:
        one_line(error, "hierarchy.json", "classes.csv")
        return "refused"
    assert all(isinstance(name, str) for names in found.values() for name in names)
    return "read"


def changed(content: object, rng) -> bytes:
    data = json.dumps(mutated_tree(content, rng) if rng.random() < 0.8 else content).encode()
    return mutated_bytes(data, rng, 2) if rng.random() < 0.25 else data


def test_changed_coco_files_keep_rows_apart_or_are_refused(campaign, tmp_path, limited):
    def check(rng) -> None:
        for name, content in (("instances", INSTANCES), ("captions", CAPTIONS)):
            data = changed(content, rng) if rng.random() < 0.7 else json.dumps(content).encode()
            (tmp_path / f"{name}.json").write_bytes(data)
        limited(outcome, tmp_path)

    campaign.run(check, each=50)


def test_a_changed_hierarchy_is_read_or_refused(campaign, tmp_path, limited):
    tree = {
        "LabelName": "/m/e",
        "Subcategory": [{"LabelName": "/m/v", "Subcategory": [{"LabelName": "/m/c"}], "Part": []}],
    }
    (tmp_path / "classes.csv").write_text("/m/v,Vehicle\n/m/c,Car\n")

    def check(rng) -> None:
        (tmp_path / "hierarchy.json").write_bytes(changed(tree, rng))
        limited(hierarchy, tmp_path)

    campaign.run(check, each=10)
