"""Ground truth in the order in which measures ask for it."""

from evaluation.ground_truth import annotations_by_category, categories_without_outline


def test_annotations_are_grouped_by_category_and_keep_their_order():
    rows = [{"category": category, "number": i} for i, category in enumerate(("cat", "dog", "cat"))]
    assert annotations_by_category(iter(rows)) == {"cat": [rows[0], rows[2]], "dog": [rows[1]]}
    assert annotations_by_category([]) == {}


def test_a_category_of_which_one_object_has_a_box_alone_is_named():
    rows = [{"category": name, "segmentation": outline} for name, outline in (("cat", {}), ("cat", None), ("dog", {}))]
    assert categories_without_outline(rows) == {"cat"}
