"""The gallery's files: the same bytes again, no markup, nothing left out, little held at once."""

import json
import re
from collections import Counter

import pandas as pd
import pytest

from evaluation.gallery.index import DETAIL_IMAGES, DETAIL_ROWS, Index
from evaluation.gallery.page import page_files
from evaluation.gallery.pictures import Small
from evaluation.gallery.scripts import script
from stages.gallery import run
from structures.masks import decode
from tests.stages.made_run import HEIGHT, WIDTH, gallery_job, made_gallery, made_tables, mask

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u2028 & \"'\\ 🐈 {}"


def content(data: bytes):
    """What a script of data hands to the page."""
    text = re.fullmatch(r'gallery\.take\("[\w/]+", ("(?:[^"\\]|\\.)*")\);\n', data.decode("ascii"), re.S)[1]
    return json.loads(json.loads(text))


def states(files: dict[str, bytes]) -> Counter:
    """How many rows have each (source, state)."""
    summary, index = content(files["summary.js"]), content(files["index/00000.js"])
    pairs = zip(index["source"], index["state"])
    return Counter((summary["sources"][source][0], summary["states"][state]) for source, state in pairs)


def test_the_bytes_are_the_same_whatever_the_shards_and_threads(tmp_path):
    first = made_gallery(tmp_path / "a", made_tables())
    assert made_gallery(tmp_path / "b", made_tables()) == first
    assert made_gallery(tmp_path / "c", made_tables(), shards=3, threads=1) == first


def test_text_of_the_data_set_never_becomes_markup(tmp_path):
    tables = made_tables(text=HOSTILE, name="<b>cat</b>")
    for row in tables["images"]:
        row["path"] = f"<script>{row['image_id']}&'.png"
    files = made_gallery(tmp_path, tables)
    data = {path: text for path, text in files.items() if path.endswith(".js") and path not in page_files()}
    assert len(data) >= 3
    for path, text in data.items():
        assert b"<" not in text and text.isascii(), path
    index = content(files["index/00000.js"])
    assert HOSTILE.replace("{}", "<b>cat</b>") in index["captions"], "and yet the page gets every letter"
    image = content(files["details/00000.js"])["images"]["0"]
    assert image["path"] == "<script>000&'.png"
    start, end, _ = image["captions"][0]["marks"][0]
    utf16 = image["captions"][0]["text"].encode("utf-16-le")
    assert utf16[2 * start : 2 * end].decode("utf-16-le") == "<b>cat</b>", "JavaScript counts in UTF-16"
    assert files["index.html"] == page_files()["index.html"], "no data in the markup"


def test_the_page_asks_for_nothing_and_makes_no_markup_of_texts():
    pages = {name: text.decode() for name, text in page_files().items()}
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', pages["index.html"])[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name, text in pages.items():
        known = text.replace("http://www.w3.org/2000/svg", "")  # the name of a namespace
        assert not re.search(
            r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", known
        ), name


def test_what_was_rejected_is_listed_with_its_reason(tmp_path):
    files = made_gallery(tmp_path, made_tables())
    assert states(files) == {
        ("ovis", "pseudo_labels: low_agreement"): 2,
        ("ovis", "kept"): 2,
        ("xpm", "kept"): 4,
        ("data", "nouns: no_known_noun"): 4,
        ("data", "ingest: broken_image"): 1,
        ("train_detector", "found"): 2,
        ("train_student", "found"): 2,
    }
    details = content(files["details/00000.js"])
    [gone] = [row for row in details["rows"].values() if details["images"][str(row["image"])]["file"] == ""]
    assert gone["reject"]["detail"].endswith("can't be read")
    rejects = content(files["summary.js"])["rejects"]
    assert rejects == [
        ["ingest", "broken_image", 1, True],
        ["nouns", "no_known_noun", 4, False],
        ["pseudo_labels", "low_agreement", 2, False],
    ]


def test_the_gallery_of_a_run_lies_beside_its_tables(miniature):
    folder = miniature.run / "gallery"
    labels = sum(len(pd.read_parquet(miniature.run / name)) for name in ("pseudo_masks", "teacher_masks"))
    made = content((folder / "summary.js").read_bytes())
    index = content((folder / "index" / "00000.js").read_bytes())
    of_labels = [made["sources"][source][1] == "labels" for source in index["source"]]
    assert sum(of_labels) == labels and made["curves"].keys() >= {"train_wspn", "train_detector", "train_student"}
    for file in page_files():
        assert (folder / file).read_bytes() == page_files()[file]
    before = {path.name: path.resolve() for path in folder.rglob("*.*")}
    miniature.stage("gallery", "--recompute")
    assert {path.name: path.resolve() for path in folder.rglob("*.*")} == before


def test_labels_of_an_earlier_round_are_told_apart(tmp_path):
    tables = made_tables()
    tables["round_masks"] = [row | {"score": 0.5} for row in tables["pseudo_masks"]]
    files = made_gallery(tmp_path, tables, rounds=2)
    of_rounds = {key: count for key, count in states(files).items() if key[0] in ("ovis", "round")}
    assert of_rounds == {
        ("ovis", "of an earlier round"): 4,
        ("round", "kept"): 2,
        ("round", "pseudo_labels: low_agreement"): 2,
    }


def test_a_label_comes_with_its_way_and_its_numbers(tmp_path):
    files = made_gallery(tmp_path, made_tables())
    details = content(files["details/00000.js"])
    row, image = details["rows"]["0"], details["images"]["0"]
    assert row["maps"]["shape"] == [3, 8, 8] and row["noise"]["side"] == 4
    assert len(image["proposals"]) == 2 and len(image["truth"]) == 1
    assert {"pseudo_masks", "gradcam", "student_labels", "label_noise"} == row["numbers"].keys()
    assert row["numbers"]["pseudo_masks"]["score"] == 30 and row["numbers"]["gradcam"]["itm_logit"] == [1, 0.5, 0.1]
    measures = content(files["index/00000.js"])["measures"]
    first = {name: values[0] for name, values in measures.items()}
    assert first | {"iou": 1, "score": 30, "match": 1, "systems": 0.7, "alpha": 0.8, "noise": 0.3} == first
    assert "similarity" in measures and measures["similarity"][0] is None, "that is of the teacher's"
    assert len(content(files["summary.js"])["curves"]["train_detector"]["loss"]) <= 200


@pytest.mark.parametrize(
    ("judged", "exhaustive", "iou"),
    [([], True, 1), (["dog"], True, None), (["cat", "dog"], True, 1), (["cat"], False, None)],
)
def test_a_label_of_what_nobody_judged_or_looked_for_everywhere_has_no_iou(tmp_path, judged, exhaustive, iou):
    tables = made_tables(3)
    row = {"image_id": "000", "present": True, "exhaustive": exhaustive}
    tables["judged"] = [row | {"category": name} for name in judged]
    measures = content(made_gallery(tmp_path, tables)["index/00000.js"])["measures"]
    assert measures["iou"][0] == iou


def test_an_object_with_a_box_alone_is_not_drawn_and_its_labels_have_no_iou(tmp_path):
    tables = made_tables()
    first = [row for row in tables["annotations"] if row["image_id"] == "000"]
    for row in first:
        row["segmentation"] = None
    measures = content(made_gallery(tmp_path, tables)["index/00000.js"])["measures"]["iou"]
    assert measures[0] is None and any(measures), "of other pictures there is one"


def test_without_truth_there_is_no_iou(tmp_path):
    tables = made_tables() | {"annotations": []}
    assert "iou" not in content(made_gallery(tmp_path, tables)["index/00000.js"])["measures"]


def test_a_run_without_a_label_has_a_gallery(tmp_path):
    empty = {table: [] for table in made_tables()}
    files = made_gallery(tmp_path, empty)
    assert content(files["summary.js"])["rows"] == 0 and "index/00000.js" not in files


def test_a_picture_that_is_no_longer_the_same_is_a_reject(tmp_path):
    job = gallery_job(tmp_path, made_tables())
    (tmp_path / "000.png").write_bytes(b"another")
    run(job)
    assert job.finish()["rejects"] == {"changed_image": 1} and not job.repeatable
    job.close()


def test_equal_pictures_are_kept_once(tmp_path):
    tables = made_tables()
    for row in tables["images"]:
        row["path"] = "one.png"
    job = gallery_job(tmp_path, tables)
    run(job)
    job.close()
    pictures = [output for output in job.outputs if output.suffix == ".jpg"]
    assert len(pictures) == 6 and len({output.digest for output in pictures}) == 1


def test_no_more_than_a_chunk_is_held():
    saved: dict[str, int] = {}
    index = Index(lambda path, data: saved.update({path: len(data)}), {"cat": "base"})
    row = {"category": 0, "source": index.source("ovis", "labels"), "state": "kept", "instance": 0, "caption": 0}
    most = 0
    for i in range(5000):
        image = {"id": str(i), "file": "", "captions": [{"text": f"caption {i}", "marks": []}]}
        index.add(image, [row | {"measures": {"score": i}, "detail": {}} for _ in range(4)])
        most = max(most, len(index._detail["rows"]), len(index._detail["images"]))
    assert most < DETAIL_ROWS + 4 and len(index._index["image"]) < 8192 + 4
    summary = index.finish()
    assert summary["rows"] == 20000 == sum(summary["chunks"])
    assert len([path for path in saved if path.startswith("details/")]) == summary["details"] >= 5000 // DETAIL_IMAGES
    assert max(saved.values()) < 1_000_000


def test_masks_and_boxes_are_brought_to_the_small_picture():
    small = Small(HEIGHT, WIDTH, side=40)
    assert small.shape == (30, 40)
    counts = small.counts(mask(20))
    assert decode({"size": [30, 40], "counts": counts}).sum() == 100
    assert small.boxes([[20, 10, 40, 30]]) == [[10, 5, 20, 15]]
    assert Small(HEIGHT, WIDTH, side=480).shape == (HEIGHT, WIDTH), "nothing is enlarged"


def test_a_script_refuses_what_json_does_not_know():
    with pytest.raises(ValueError):
        script("summary", {"value": float("nan")})


def test_a_sample_of_the_images_is_shown_where_asked(tmp_path):
    """Evenly spread: every second of eight training images, and all of four validation images."""
    files = made_gallery(tmp_path, made_tables(12), gallery={"images": 4})
    summary = content(files["summary.js"])
    pictures = [path for path in files if path.startswith("pictures/")]
    assert len(pictures) == 8 and summary["images"] == 8 + 1, "and one that the run does not have"
    index = content(files["index/00000.js"])
    assert [image_id for image_id, _ in index["images"]][:4] == ["000", "003", "006", "009"]
