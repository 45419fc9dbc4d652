"""Annotations grouped by picture and category."""

from evaluation.ground_truth import annotations_by_image_and_category


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
