"""LVIS-style JSON, by the rules of LVIS' own reader and evaluation (lvis-api, which brings an OpenCV of its own)."""

import json

import numpy as np
from pycocotools import mask as coco_mask

from exports.lvis import write
from tests.exports.scenes import NAMES, labelled, masks_of


def test_masks_categories_and_what_was_looked_for(tmp_path):
    write(tmp_path, labelled(), pictures=False)
    content = json.loads((tmp_path / "lvis.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    masks = []
    for annotation in content["annotations"]:  # as lvis.LVIS.ann_to_mask
        size = images[annotation["image_id"]]["height"], images[annotation["image_id"]]["width"]
        masks.append(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], *size))))
    assert np.array_equal(np.array(masks, bool), masks_of(labelled()))
    names = {category["id"]: category for category in content["categories"]}
    assert [category["name"] for category in names.values()] == list(NAMES)
    assert [category["instance_count"] for category in names.values()] == [2, 1, 1]
    assert [category["image_count"] for category in names.values()] == [2, 1, 1]
    assert {category["frequency"] for category in names.values()} == {"r"}
    assert names[1]["synonyms"] == ["cat", "kitten"]
    for image in images.values():
        assert image["neg_category_ids"] == [], "captions say of nothing that it is not there"
        labelled_here = {row["category_id"] for row in content["annotations"] if row["image_id"] == image["id"]}
        assert labelled_here <= set(image["not_exhaustive_category_ids"])
    assert images[1]["not_exhaustive_category_ids"] == [1, 2, 3], "the third is named, though nobody outlined one"
    assert images[3]["not_exhaustive_category_ids"] == [], "nothing was looked for"
