"""The recall of proposals, of a case worked out by hand."""

import numpy as np
import pytest

from evaluation.proposal_recall import proposal_recall


def thing(image_id, category, x, crowd=False):
    return {"image_id": image_id, "category": category, "bbox": [x, 0, 10, 10], "iscrowd": crowd}


def test_recall_is_a_share_of_objects_by_group_and_by_category():
    annotations = [
        thing("a", "car", 0),
        thing("a", "cat", 100),
        thing("a", "cat", 200, crowd=True),
        thing("b", "cat", 0),
        thing("b", "traffic light", 100),
        thing("without boxes", "traffic light", 0),
    ]
    far = [[500, 500, 510, 510]] * 49
    boxes = {
        "a": np.array([[100, 0, 110, 5], *far, [0, 0, 10, 10]], np.float32),  # the cat's upper half; the car as box 51
        "b": np.array([[0, 0, 10, 4.9], [102, 0, 112, 10]], np.float32),  # less than half the cat; IoU 8 / 12
    }
    groups = {"car": "base", "cat": "novel", "traffic light": "novel"}
    images = [
        ([row for row in annotations if row["image_id"] == image_id], boxes.get(image_id, np.zeros((0, 4), np.float32)))
        for image_id in dict.fromkeys(row["image_id"] for row in annotations)
    ]
    rows = list(proposal_recall(images, groups.__getitem__))
    values = {(row["protocol"], row["group"], row["metric"]): row["value"] for row in rows}
    assert len(values) == len(rows)
    assert {key[:2]: value for key, value in values.items() if key[2] == "recall50"} == pytest.approx(
        {
            ("val_proposals", "base"): 0,
            ("val_proposals", "novel"): 2 / 4,
            ("val_proposals", "all"): 2 / 5,
            ("val_proposals_base", "car"): 0,
            ("val_proposals_novel", "cat"): 1 / 2,
            ("val_proposals_novel", "traffic light"): 1 / 2,
        }
    )
    every = {key[:2]: value for key, value in values.items() if key[2] == "recall"}
    assert every["val_proposals", "base"] == every["val_proposals_base", "car"] == 1
    assert every["val_proposals", "all"] == pytest.approx(3 / 5) and every["val_proposals", "novel"] == 2 / 4


def test_nothing_is_said_of_what_has_no_object():
    assert not list(proposal_recall([([thing("a", "car", 0, crowd=True)], np.zeros((0, 4)))], lambda category: "base"))
