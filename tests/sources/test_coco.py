"""The COCO reader and writer."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sources.coco import SourceError, encode_segmentation, instances_json, read_split


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
        read_split(tmp_path, "pictures", captions="captions.json")
