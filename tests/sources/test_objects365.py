"""Objects365's JSON: boxes without outlines, pictures in patches."""

import json
from types import SimpleNamespace

import pytest

from sources.objects365 import read_part
from sources.part import SourceError


def part(**changes):
    return SimpleNamespace(**{"images": "train", "instances": "objects.json", "captions": ""} | changes)


def write_objects(root, annotations):
    images = [
        {"id": 3, "file_name": "images/v1/patch8/objects365_v1_00420917.jpg", "height": 40, "width": 60, "license": 5},
        {"id": 4, "file_name": "images/v2/patch16/objects365_v2_00908726.jpg", "height": 40, "width": 60},
    ]
    categories = [{"id": 1, "name": "Person"}, {"id": 2, "name": "Cabinet/shelf"}]
    (root / "objects.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def box(number, **changes):
    flags = {"iscrowd": 0, "isfake": 0, "isreflected": 0}
    row = {"id": number, "image_id": 3, "category_id": 2, "bbox": [1.5, 2.25, 10.0, 20.0], "area": 200.0}
    return row | flags | changes


def test_boxes_have_no_outline_and_pictures_are_in_patches(tmp_path):
    write_objects(tmp_path, [box(1), box(2, isfake=1, category_id=1), box(3, iscrowd=1), box(4, isreflected=1)])
    found = read_part(tmp_path, part())
    assert found.images == {
        "3": ("train/patch8/objects365_v1_00420917.jpg", 60, 40),
        "4": ("train/patch16/objects365_v2_00908726.jpg", 60, 40),
    }
    rows = list(found.annotations(None))
    assert [row["segmentation"] for row in rows] == [None] * 4 and rows[0]["bbox"] == [1.5, 2.25, 10.0, 20.0]
    assert [row["iscrowd"] for row in rows] == [False, False, True, False]
    assert found.counts == {"Cabinet/shelf": 2, "Person": 1} and not found.faults
    assert found.labels is None and found.judged is None, "all categories were looked for in every picture"
    (tmp_path / "train" / "images").mkdir(parents=True)
    assert read_part(tmp_path, part()).images["3"][0] == "train/images/v1/patch8/objects365_v1_00420917.jpg"


def test_rows_that_cant_be_used_are_faults(tmp_path):
    wrong = [box(2, category_id=366), box(3, bbox=[0, 0, 900, 1]), box(4, iscrowd=7), box(5, image_id=9)]
    write_objects(tmp_path, [box(1), *wrong])
    found = read_part(tmp_path, part())
    assert [(fault.key, fault.reason) for fault in found.faults] == [
        ("2", "bad_annotation"),
        ("3", "bad_annotation"),
        ("4", "bad_annotation"),
        ("5", "absent_image"),
    ]
    assert "annotations[1], id 2: category_id is 366, which is not listed" in found.faults[0].detail
    with pytest.raises(SourceError, match="instances is not set"):
        read_part(tmp_path, part(instances=""))
