"""The COCO reader."""

import json
from types import SimpleNamespace

import pytest
from pycocotools import mask as coco_mask

from sources.coco import read_coco, read_part
from sources.part import SourceError


def test_json_without_images_is_refused(tmp_path):
    (tmp_path / "captions.json").write_text('{"annotations": []}')
    with pytest.raises(SourceError, match="has no list images"):
        read_coco(tmp_path, "pictures", captions="captions.json")


def test_a_part_as_it_is_published_is_read_row_for_row(tmp_path):
    """2017: crowds as uncompressed runs, polygons of several parts, an image without caption, five captions on another;
    a category list with gaps in its numbers."""
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 10, "height": 12, "license": 3} for i in (9, 25, 30)]
    polygons = [[1, 1, 4, 1, 4, 4, 1, 4], [6.5, 6, 9, 6, 9, 9, 6.5, 9]]
    crowd = {"size": [12, 10], "counts": [24, 12, 84]}
    rows = [
        {"id": 1, "image_id": 9, "category_id": 90, "bbox": [1, 1, 8, 8], "area": 15.5, "iscrowd": 0,
         "segmentation": polygons},
        {"id": 900100000025, "image_id": 25, "category_id": 1, "bbox": [2, 0, 1, 12], "area": 12, "iscrowd": 1,
         "segmentation": crowd},
    ]  # fmt: skip
    categories = [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 90, "name": "toothbrush"}]
    captions = [{"id": 100 + i, "image_id": 9, "caption": f"caption {i}"} for i in range(5)]
    instances = {"info": {}, "licenses": [], "images": images, "annotations": rows, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    (tmp_path / "captions.json").write_text(json.dumps({"images": images[:2], "annotations": captions}))
    part = read_part(
        tmp_path, SimpleNamespace(images="train2017", instances="instances.json", captions="captions.json")
    )
    assert list(part.images) == ["9", "25", "30"]
    assert part.images["25"] == ("train2017/000000000025.jpg", 10, 12)
    assert [(row["image_id"], row["caption_id"]) for row in part.captions] == [("9", str(100 + i)) for i in range(5)]
    small, group = part.annotations(lambda image_id: (12, 10))
    assert (small["category"], small["iscrowd"], small["area"]) == ("toothbrush", False, 15.5)
    assert (group["category"], group["iscrowd"], group["annotation_id"]) == ("person", True, "900100000025")
    mask = coco_mask.decode(group["segmentation"])
    assert mask.sum() == 12 and mask[:, 2].all()
    assert part.counts == {"toothbrush": 1}, "crowds are no objects"
    without = read_part(tmp_path, SimpleNamespace(images="train2017", instances="instances.json", captions=""))
    assert list(without.images) == ["9", "25", "30"] and not without.captions


IMAGES = [{"id": i, "file_name": f"{i}.jpg", "width": 10, "height": 12} for i in (1, 2)]
ANNOTATION = {
    "id": 1,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 1, 4, 4],
    "area": 16,
    "segmentation": [[1, 1, 5, 1, 5, 5]],
}
CATEGORIES = [{"id": 1, "name": "cat"}]


def read(tmp_path, images=None, captions=None, annotations=None, categories=None, raw=None):
    """read_coco of a captions file, or of an instances file where there are annotations or categories."""
    images = IMAGES if images is None else images
    kind = "captions" if annotations is None and categories is None else "instances"
    rows = captions or [] if kind == "captions" else [ANNOTATION] if annotations is None else annotations
    content = {"images": images, "annotations": rows, "categories": CATEGORIES if categories is None else categories}
    (tmp_path / "file.json").write_bytes(json.dumps(content).encode() if raw is None else raw)
    return read_coco(tmp_path, "pictures", **{kind: "file.json"})


def faults(data) -> list[tuple[str, str]]:
    return [(image_id, reason) for image_id, reason, _, _ in data.faults]


def test_captions_without_ids_or_with_repeated_ones_keep_their_own_text(tmp_path):
    rows = [
        {"image_id": 1, "caption": "a cat"},
        {"image_id": 1, "caption": "a dog"},
        {"id": 7, "image_id": 2, "caption": "a cup"},
    ]
    rows += [{"id": 7, "image_id": 2, "caption": "a bus"}, {"id": "row 0", "image_id": 2, "caption": "a tv"}]
    rows += [{"id": None, "image_id": 2, "caption": "a kite"}]
    data = read(tmp_path, captions=rows)
    assert [text for _, _, text in data.captions] == [row["caption"] for row in rows] and not data.faults
    assert len({caption_id for _, caption_id, _ in data.captions}) == len(rows)
    again = read(tmp_path, captions=rows)
    assert again.captions == data.captions


def test_annotations_without_ids_or_with_repeated_ones_are_told_apart(tmp_path):
    rows = [ANNOTATION, ANNOTATION | {"image_id": 2}, {k: v for k, v in ANNOTATION.items() if k != "id"}]
    data = read(tmp_path, annotations=rows)
    assert len({row["annotation_id"] for row in data.annotations}) == 3 and not data.faults


def test_one_id_of_two_pictures_is_refused_and_the_same_row_twice_is_not(tmp_path):
    captions = [{"id": i, "image_id": i, "caption": "a cat"} for i in (1, 2)]
    data = read(tmp_path, [*IMAGES, IMAGES[0] | {"file_name": "other.jpg"}], captions)
    assert faults(data) == [("1", "repeated_id"), ("1", "absent_image")] and list(data.images) == ["2"]
    assert "1.jpg" in data.faults[0][2] and "other.jpg" in data.faults[0][2]
    data = read(tmp_path, [*IMAGES, *IMAGES], captions)
    assert not data.faults and list(data.images) == ["1", "2"]


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "the id 1 is of 'cat' and of 'dog'"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], "the name 'cat' stands twice"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": None}], r"categories\[1\]: name is None"),
        ([["cat"]], r"categories\[0\]: .* stands where an object with id should"),
        ([{"name": "cat"}], "id is not there"),
    ],
)
def test_categories_that_can_not_be_told_apart_are_refused(tmp_path, categories, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, categories=categories)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": [1, 1, float("nan"), 4]}, {"bbox": [1, 1, 4]}, {"bbox": [1, 1, -4, 4]}, {"bbox": None}, {"bbox": "1 1 4 4"},
        {"bbox": [1, 1, 4, 1e9]}, {"bbox": ["1", "1", "4", "4"]}, {"area": "big"}, {"area": -1}, {"area": float("inf")},
        {"category_id": 9}, {"category_id": None}, {"iscrowd": 2}, {"iscrowd": None}, {"segmentation": None},
        {"segmentation": [[1e9, 1, 5, 1, 5, 5]]}, {"segmentation": {"size": [12, 10], "counts": [119]}},
        {"segmentation": {"size": [10, 12], "counts": [120]}}, {"segmentation": {"size": [12, 10], "counts": "0"}},
        {"segmentation": [[7, 7, 9, 7, 9, 9]]}, {"segmentation": {"size": [12, 10], "counts": [118, 2]}}, {"bbox": [7, 7, 2, 2]},
    ],
)  # fmt: skip
def test_an_annotation_that_can_not_be_meant_is_a_fault_and_the_next_is_read(tmp_path, wrong):
    data = read(tmp_path, annotations=[ANNOTATION | wrong, ANNOTATION | {"id": 2}])
    assert faults(data) == [("1", "bad_annotation")] and data.faults[0][3] == "1"
    assert "annotations[0]" in data.faults[0][2] and [row["annotation_id"] for row in data.annotations] == ["2"]


@pytest.mark.parametrize(
    "wrong", [None, 3, "x", [], {}, {"id": 5}, *({"id": 5, "file_name": "x.jpg", "width": 4, "height": 3} | bad for bad in (
        {"id": None}, {"id": 1.5}, {"id": True}, {"id": ""}, {"file_name": None}, {"file_name": 3}, {"width": 0},
        {"width": 1e9}, {"width": "wide"}, {"height": -3}, {"height": [3]}, {"height": float("nan")}))],
)  # fmt: skip
def test_an_image_row_of_another_shape_is_a_fault_and_the_others_are_read(tmp_path, wrong):
    data = read(tmp_path, [wrong, *IMAGES], [{"id": 1, "image_id": 1, "caption": "a cat"}])
    assert [reason for _, reason in faults(data)] == ["bad_row"] and "images[0]" in data.faults[0][2]
    assert list(data.images) == ["1", "2"] and len(data.captions) == 1


@pytest.mark.parametrize(
    "wrong", [None, 3, "a cat", [], {}, {"id": 3, "image_id": 1}, {"id": 3, "image_id": 1, "caption": ["a cat"]},
              {"id": 3, "image_id": 1, "caption": 7}, {"id": 3, "image_id": [1], "caption": "a cat"}],
)  # fmt: skip
def test_a_caption_row_of_another_shape_is_a_fault_and_the_others_are_read(tmp_path, wrong):
    data = read(tmp_path, captions=[wrong, {"id": 1, "image_id": 1, "caption": "a cat"}])
    assert [reason for _, reason in faults(data)] == ["bad_row"] and "annotations[0]" in data.faults[0][2]
    assert len(data.captions) == 1


def test_numbers_as_texts_and_as_floats_are_the_numbers(tmp_path):
    images = [{"id": 1.0, "file_name": "1.jpg", "width": "10", "height": 12.0}]
    data = read(tmp_path, images, [{"id": 1, "image_id": "1", "caption": "a cat"}])
    assert data.images == {"1": ("pictures/1.jpg", 10, 12)} and len(data.captions) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_any_unicode_is_read(tmp_path, encoding):
    content = {"images": IMAGES, "annotations": [{"id": 1, "image_id": 1, "caption": "a café"}]}
    data = read(tmp_path, raw=json.dumps(content, ensure_ascii=False).encode(encoding))
    assert data.captions == [("1", "1", "a café")]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": [], "images": [], "annotations": []}', "the key 'images' stands twice"),
        (b'{"images": [{"id": 1, "id": 2}], "annotations": []}', "the key 'id' stands twice"),
        (b'{"images": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b"\x1f\x8b\x08\x00rest", "is compressed"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b'{"images": "\xe9"}', "is no JSON"),
        (b"[]", "has no list images, annotations"),
        (b'{"images": {}, "annotations": null}', "has no list images, annotations"),
    ],
)
def test_a_file_of_another_kind_is_one_line(tmp_path, raw, message):
    with pytest.raises(SourceError, match=message) as error:
        read(tmp_path, raw=raw)
    assert "file.json" in str(error.value) and len(str(error.value).splitlines()) == 1
