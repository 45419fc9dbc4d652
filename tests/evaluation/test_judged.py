"""What was judged, and the hierarchy, on cases worked out by hand."""

from evaluation.judged import Judges, of_judged, with_ancestors

ANCESTORS = {"car": ("vehicle",), "taxi": ("car", "vehicle")}


def judged(category, present):
    return {"category": category, "present": present}


def test_present_implies_ancestors_and_absent_implies_descendants():
    assert Judges().judged("1", [judged("car", True)]) == {"car"}
    judges = Judges(ANCESTORS)
    assert judges.judged("1", [judged("car", True)]) == {"car", "vehicle"}
    assert judges.judged("1", [judged("car", False)]) == {"car", "taxi"}
    assert judges.judged("1", [judged("car", False), judged("taxi", True)]) == {"car", "taxi", "vehicle"}


def test_an_image_without_a_list_was_judged_for_all():
    rows = [{"category": category} for category in ("car", "cat")]
    assert of_judged(rows, Judges().judged("1", [judged("cat", False)])) == rows[1:]
    assert of_judged(rows, Judges().judged("1", [])) == rows


def test_an_image_of_one_of_several_sources_was_judged_for_what_that_source_annotates():
    """COCO has no pillows, and a pillow that is found in a picture of COCO's is neither right nor wrong."""
    of_sources = [{"source": "coco", "category": "car"}, {"source": "other", "category": "pillow"}]
    judges = Judges(None, of_sources)
    assert judges.judged("coco/1", []) == {"car"} and judges.judged("other/1", []) == {"pillow"}
    assert judges.judged("coco/2", [judged("cat", True)]) == {"cat"}
    assert judges.judged("captions/1", [judged("", False)]) == {""}
    assert Judges(ANCESTORS, of_sources).judged("coco/1", []) == {"car", "vehicle", "taxi"}
    assert Judges().judged("coco/1", []) is None, "of one source, whatever its ids are"


def test_an_image_that_was_judged_for_nothing_has_nothing_to_be_scored():
    assert of_judged([{"category": "car"}], Judges(ANCESTORS).judged("1", [judged("", False)])) == []


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
