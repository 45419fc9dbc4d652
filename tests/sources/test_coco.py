"""The COCO reader and writer."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sources.coco import encode_segmentation, instances_json, read_coco, read_part
from sources.part import SourceError


def test_polygons_and_both_kinds_of_rle_are_one_mask():
    mask = np.zeros((12, 10), np.uint8)
    mask[2:8, 3:9] = 1
    compressed = coco_mask.encode(np.asfortranarray(mask))
    runs = [0]
    for value in mask.T.ravel():
        if value == (len(runs) - 1) % 2:
            runs[-1] += 1
        else:
            runs.append(1)
    forms = (
        [[3, 2, 9, 2, 9, 8, 3, 8]],
        {"size": [12, 10], "counts": runs},
        {"size": [12, 10], "counts": compressed["counts"].decode()},
    )
    for form in forms:
        np.testing.assert_array_equal(coco_mask.decode(encode_segmentation(form, 12, 10)), mask)


@pytest.mark.parametrize("bad", [[], [[1, 2]], {"counts": 3}, None, {"size": [5, 5], "counts": "11"}])
def test_a_segmentation_that_is_no_mask_is_refused(bad):
    with pytest.raises(ValueError):
        encode_segmentation(bad, 12, 10)


def test_ids_that_are_words_are_kept():
    rows = [
        {"image_id": "0a1f", "path": "x/0a1f.jpg", "width": 4, "height": 3},
        {"image_id": "17", "path": "17.jpg", "width": 4, "height": 3},
    ]
    content = json.loads(json.dumps(instances_json(rows, [], ("cat",))))
    assert [image["id"] for image in content["images"]] == ["0a1f", 17]


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
