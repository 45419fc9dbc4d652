"""What was judged, and the hierarchy, on cases worked out by hand."""

from evaluation.judged import judged_categories, of_judged, with_ancestors

ANCESTORS = {"car": ("vehicle",), "taxi": ("car", "vehicle")}


def judged(category, present):
    return {"image_id": "1", "category": category, "present": present}


def test_present_implies_ancestors_and_absent_implies_descendants():
    assert judged_categories([judged("car", True)], "1") == {"1": {"car"}}
    assert judged_categories([judged("car", True)], "1", ANCESTORS) == {"1": {"car", "vehicle"}}
    assert judged_categories([judged("car", False)], "1", ANCESTORS) == {"1": {"car", "taxi"}}
    both = judged_categories([judged("car", False), judged("taxi", True)], "1", ANCESTORS)
    assert both == {"1": {"car", "taxi", "vehicle"}}


def test_an_image_without_a_list_was_judged_for_all():
    rows = [{"image_id": image_id, "category": category} for image_id in "12" for category in ("car", "cat")]
    kept = list(of_judged(rows, judged_categories([judged("cat", False)], "12")))
    assert [(row["image_id"], row["category"]) for row in kept] == [("1", "cat"), ("2", "car"), ("2", "cat")]
    assert list(of_judged(rows, judged_categories([], "12"))) == rows


def test_an_image_that_was_judged_for_nothing_has_nothing_to_be_scored():
    rows = [{"image_id": image_id, "category": "car"} for image_id in "12"]
    assert list(of_judged(rows, judged_categories([judged("", False)], "12", ANCESTORS))) == rows[1:]
    assert judged_categories([judged("car", True)], {"2"}) == {}, "of the images that were asked for alone"


def test_an_object_is_one_of_every_ancestor():
    rows = list(
        with_ancestors([{"category": "taxi", "iscrowd": True}, {"category": "cat", "iscrowd": False}], ANCESTORS)
    )
    assert [(row["category"], row["iscrowd"]) for row in rows] == [
        ("taxi", True), ("car", True), ("vehicle", True), ("cat", False),
    ]  # fmt: skip
