"""What was judged, and the hierarchy, on cases worked out by hand."""

from evaluation.judged import Judges, of_judged, with_ancestors

ANCESTORS = {"car": ("vehicle",), "taxi": ("car", "vehicle")}


def judged(category, present):
    return {"category": category, "present": present}


def test_present_implies_ancestors_and_absent_implies_descendants():
    assert Judges().judged([judged("car", True)]) == {"car"}
    judges = Judges(ANCESTORS)
    assert judges.judged([judged("car", True)]) == {"car", "vehicle"}
    assert judges.judged([judged("car", False)]) == {"car", "taxi"}
    assert judges.judged([judged("car", False), judged("taxi", True)]) == {"car", "taxi", "vehicle"}


def test_an_image_without_a_list_was_judged_for_all():
    rows = [{"category": category} for category in ("car", "cat")]
    assert of_judged(rows, Judges().judged([judged("cat", False)])) == rows[1:]
    assert of_judged(rows, Judges().judged([])) == rows


def test_an_image_that_was_judged_for_nothing_has_nothing_to_be_scored():
    assert of_judged([{"category": "car"}], Judges(ANCESTORS).judged([judged("", False)])) == []


def test_of_what_is_not_annotated_exhaustively_neither_are_its_ancestors():
    rows = [judged("taxi", True) | {"exhaustive": False}, judged("cat", True) | {"exhaustive": True}]
    assert Judges(ANCESTORS).not_exhaustive(rows) == {"taxi", "car", "vehicle"}
    assert Judges().not_exhaustive(rows) == {"taxi"}
    named = [{"category": name} for name in ("taxi", "cat")]
    assert of_judged(named, None, {"taxi"}) == named[1:]


def test_an_object_is_one_of_every_ancestor():
    rows = list(
        with_ancestors([{"category": "taxi", "iscrowd": True}, {"category": "cat", "iscrowd": False}], ANCESTORS)
    )
    assert [(row["category"], row["iscrowd"]) for row in rows] == [
        ("taxi", True), ("car", True), ("vehicle", True), ("cat", False),
    ]  # fmt: skip
