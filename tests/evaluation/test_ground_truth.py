"""Annotations grouped by picture and category, and the images that count."""

from evaluation.ground_truth import annotations_by_image_and_category, images_holding


def test_annotations_keep_their_order_within_an_image_and_category():
    rows = [
        {"image_id": image_id, "category": category, "annotation_id": i}
        for i, (image_id, category) in enumerate([("2", "cat"), ("1", "cat"), ("2", "dog"), ("2", "cat")])
    ]
    assert annotations_by_image_and_category(iter(rows)) == {
        ("2", "cat"): [rows[0], rows[3]],
        ("1", "cat"): [rows[1]],
        ("2", "dog"): [rows[2]],
    }
    assert annotations_by_image_and_category([]) == {}


def test_an_image_counts_that_holds_an_object_or_a_crowd_of_the_categories():
    annotations = [
        {"image_id": "base", "category": "car", "iscrowd": False},
        {"image_id": "novel", "category": "cat", "iscrowd": False},
        {"image_id": "crowd", "category": "car", "iscrowd": True},
        {"image_id": "neither", "category": "tree", "iscrowd": False},
    ]
    assert images_holding(annotations, {"car"}) == {"base", "crowd"}
    assert images_holding(iter(annotations), ("car", "cat")) == {"base", "novel", "crowd"}
    assert images_holding(annotations, ()) == set()
