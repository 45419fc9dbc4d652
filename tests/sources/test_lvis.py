"""LVIS' JSON, whole and with everything that may be wrong in it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from exports.lvis import write
from sources.images import inspect_image
from sources.lvis import read_part
from sources.part import Fault, SourceError
from sources.vocabulary import VocabularyError, read_vocabulary
from tests.exports.scenes import MASKS, labelled

CATEGORIES = [
    {"id": 2, "name": "bow_(weapon)", "frequency": "r", "synonyms": ["bow_(weapon)"], "synset": "bow.n.04"},
    {"id": 5, "name": "bow_(decorative_ribbons)", "frequency": "f", "synonyms": ["bow_(decorative_ribbons)", "ribbon"]},
    {"id": 9, "name": "cab_(taxi)", "frequency": "c", "synonyms": ["cab_(taxi)", "taxi", "taxicab"]},
]


def part(**changes):
    return SimpleNamespace(**{"images": ".", "instances": "lvis.json", "captions": ""} | changes)


def image(number: int, **changes) -> dict:
    url = f"http://images.cocodataset.org/train2017/{number:012d}.jpg"
    lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    return {"id": number, "coco_url": url, "height": 40, "width": 60} | lists | changes


def annotation(number: int, image_id: int, category_id: int, **changes) -> dict:
    shape = {"bbox": [2, 3, 10, 10], "segmentation": [[2, 3, 12, 3, 12, 13, 2, 13]], "area": 100}
    return {"id": number, "image_id": image_id, "category_id": category_id} | shape | changes


def write_lvis(root: Path, images: list, annotations: list, categories: list | None = None, name="lvis.json") -> None:
    content = {"images": images, "annotations": annotations, "categories": categories or CATEGORIES}
    (root / name).write_text(json.dumps(content))


def read(root: Path, **changes):
    """The part, and of what was judged (image, category, present, exhaustive), and (image, key) of faults."""
    found = read_part(root, part(**changes))
    judged = list(found.judged)
    faults = [row for row in [*judged, *found.faults] if isinstance(row, Fault)]
    rows = [tuple(row.values()) for row in judged if not isinstance(row, Fault)]
    return found, rows, faults


def test_pictures_are_found_by_their_address_and_categories_named_in_words(tmp_path):
    write_lvis(
        tmp_path,
        [
            image(7, neg_category_ids=[2], not_exhaustive_category_ids=[5]),
            image(8),
            image(9, file_name="COCO_val2014_000000000009.jpg"),
        ],
        [annotation(1, 7, 5), annotation(2, 7, 9), annotation(3, 7, 9)],
    )
    found, judged, faults = read(tmp_path)
    assert found.images == {
        "7": ("train2017/000000000007.jpg", 60, 40),
        "8": ("train2017/000000000008.jpg", 60, 40),
        "9": ("COCO_val2014_000000000009.jpg", 60, 40),
    }
    assert judged == [
        ("7", "bow (weapon)", False, True),
        ("7", "bow (decorative ribbons)", True, False),
    ]
    assert not faults and found.labels is None
    rows = list(found.annotations(lambda image_id: (40, 60)))
    assert [row["category"] for row in rows] == ["bow (decorative ribbons)", "cab (taxi)", "cab (taxi)"]
    assert found.counts == {"bow (decorative ribbons)": 1, "cab (taxi)": 2} and not any(row["iscrowd"] for row in rows)


def test_captions_of_other_pictures_are_passed_over(tmp_path):
    write_lvis(tmp_path, [image(7)], [])
    rows = [
        {"id": 1, "image_id": 7, "caption": "a bow"},
        {"id": 2, "image_id": 8, "caption": "of another part"},
        {"id": 3, "image_id": None, "caption": "of none"},
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": [{"id": 7, "file_name": "x"}], "annotations": rows}))
    found, _, [fault] = read(tmp_path, captions="captions.json")
    assert [row["text"] for row in found.captions] == ["a bow"]
    assert fault.reason == "bad_row" and fault.key == "3"


def test_lists_that_name_no_category_or_contradict_are_faults(tmp_path):
    write_lvis(
        tmp_path,
        [
            image(1, neg_category_ids=[2, 77], not_exhaustive_category_ids=[78, 9]),
            image(2, neg_category_ids=[5, 9, 9], not_exhaustive_category_ids=[9]),
            image(3, neg_category_ids=None),
            image(4, not_exhaustive_category_ids=[[2], True]),
            image(5) | {"coco_url": ""},
        ],
        [annotation(1, 2, 5), annotation(2, 2, 77)],
    )
    found, judged, faults = read(tmp_path)
    assert judged == [
        ("1", "bow (weapon)", False, True),
        ("1", "cab (taxi)", True, False),
        ("2", "cab (taxi)", True, False),
    ]
    assert [(fault.image_id, fault.reason, fault.key) for fault in faults] == [
        ("1", "bad_judgement", "neg_category_ids"),
        ("1", "bad_judgement", "not_exhaustive_category_ids"),
        ("2", "bad_judgement", "bow (decorative ribbons)"),
        ("2", "bad_judgement", "cab (taxi)"),
        ("3", "bad_judgement", "neg_category_ids"),
        ("4", "bad_judgement", "not_exhaustive_category_ids"),
        ("4", "bad_judgement", "not_exhaustive_category_ids"),
        ("5", "bad_row", ""),
        ("2", "bad_annotation", "2"),
    ]
    assert faults[0].detail == f"{tmp_path}/lvis.json, images[0], neg_category_ids: no category has the id 77"
    assert "file_name is ''" in faults[7].detail and "category_id is 77, which is not listed" in faults[8].detail
    assert all(len(fault.detail.splitlines()) == 1 for fault in faults) and "5" not in found.images


def test_an_address_that_leads_elsewhere_is_refused_where_pictures_are_read(tmp_path):
    write_lvis(tmp_path, [image(1, coco_url="http://x/../../etc/passwd"), image(2, coco_url="http://[")], [])
    found, _, [fault] = read(tmp_path)
    assert (fault.image_id, fault.reason) == ("2", "bad_row") and list(found.images) == ["1"]
    assert inspect_image((tmp_path, found.images["1"][0], 1000)).reason == "outside_root"


def test_what_this_project_exports_is_read(tmp_path):
    write(tmp_path, labelled(), pictures=False)
    found, judged, faults = read(tmp_path)
    assert not faults and len(found.images) == 3
    assert {path for path, _, _ in found.images.values()} == set(MASKS)
    assert {row[2:] for row in judged} == {(True, False)} and len(list(found.annotations(None))) == 4


def test_no_json_is_one_line(tmp_path):
    with pytest.raises(SourceError, match="instances is not set"):
        read_part(tmp_path, part(instances=""))
    (tmp_path / "lvis.json").write_text("[]")
    with pytest.raises(SourceError, match="has no list images, annotations, categories"):
        read_part(tmp_path, part())
    write_lvis(tmp_path, [], [], [CATEGORIES[0], CATEGORIES[0]])
    with pytest.raises(SourceError, match="the id 2 is of"):
        read_part(tmp_path, part())


def test_its_rare_categories_are_the_novel_ones_of_a_vocabulary(tmp_path):
    extra = [
        {"id": 10, "name": "Band_Aid", "frequency": "c", "synonyms": ["Band_Aid", "ribbon"]},
        {"id": 11, "name": "taxi", "frequency": "r", "synonyms": None},
    ]
    write_lvis(tmp_path, [], [], CATEGORIES + extra)
    vocabulary = read_vocabulary(tmp_path / "lvis.json")
    assert vocabulary.base == ("Band Aid", "bow (decorative ribbons)", "cab (taxi)")
    assert vocabulary.novel == ("bow (weapon)", "taxi")
    assert vocabulary.synonyms == {"cab (taxi)": ("cab", "taxicab")}, "bow and ribbon are of two, taxi another's name"
    bad = [{"id": 1, "name": 7, "frequency": "r"}, {"id": 2, "name": "x", "frequency": "q"}]
    bad += [{"id": 3, "name": "y", "frequency": "f", "synonyms": "z"}, CATEGORIES[0], CATEGORIES[0]]
    write_lvis(tmp_path, [], [], bad)
    with pytest.raises(VocabularyError) as error:
        read_vocabulary(tmp_path / "lvis.json")
    said = str(error.value)
    for text in ("categories[0]: name is 7", "x: frequency is 'q'", "y: synonyms is z", "'bow_(weapon)' stands twice"):
        assert text in said
