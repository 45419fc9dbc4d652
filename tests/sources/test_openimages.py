"""Open Images as it is published: class names, image labels with confidence, boxes with groups, masks in folders."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sources import openimages
from sources.part import Fault, SourceError
from sources.vocabulary import VocabularyError, counted_vocabulary
from tests.sources.listed import listed
from training.tables import learnable_annotations

read_part = listed(openimages.read_part)

CAT, CUP, EAR = "/m/01yrx", "/m/02p5f1q", "/m/039xj_"
PART = SimpleNamespace(
    images="train",
    classes="class-descriptions-boxable.csv",
    labels="train-annotations-human-imagelabels-boxable.csv",
    boxes="train-annotations-bbox.csv",
    instances="train-annotations-object-segmentation.csv",
    masks="train-masks",
    captions="",
)


def mask_name(image, label, box):
    return f"{image}_{label.replace('/', '')}_{box}.png"


@pytest.fixture()
def root(tmp_path):
    """Three pictures: one with two masks in different folders, one with a group and a mask whose file is gone, one
    with labels alone."""
    (tmp_path / PART.classes).write_text(f'{CAT},Cat\n{CUP},Coffee cup\n{EAR},"Human ear, left"\n')
    (tmp_path / PART.labels).write_text(
        "ImageID,Source,LabelName,Confidence\n"
        f"000a,verification,{CAT},1\n000a,verification,{EAR},0\n"
        f"0b1c,crowdsource-verification,{CUP},1\nf00d,verification,{EAR},1\nf00d,verification,/m/unheard,1\n"
    )
    (tmp_path / PART.boxes).write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
        "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
        f"000a,xclick,{CAT},1,0.25,0.75,0.5,1.0,0,0,0,0,0\n0b1c,xclick,{CUP},1,0,0.5,0,0.5,0,0,1,0,0\n"
    )
    rows = [
        ("000a", CAT, "1111", 0.25, 0.75, 0.5, 1.0),
        ("000a", CUP, "2222", 0.0, 0.25, 0.0, 0.5),
        ("0b1c", CUP, "3333", 0.1, 0.2, 0.1, 0.2),
    ]
    lines = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    for image, label, box, *place in rows:
        lines.append(
            f"{mask_name(image, label, box)},{image},{label},{box},{','.join(map(str, place))},0.87,0.1 0.2 1;0.3 0.4 0"
        )
    (tmp_path / PART.instances).write_text("\n".join(lines) + "\n")
    small = np.zeros((10, 20), np.uint8)
    small[5:, 5:15] = 255
    (tmp_path / "train-masks" / "train-masks-0").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train-masks" / "train-masks-0" / mask_name("000a", CAT, "1111")), small)
    cv2.imwrite(str(tmp_path / "train-masks" / mask_name("000a", CUP, "2222")), small[::-1])
    return tmp_path


def test_what_was_written_is_read_back(root):
    part = read_part(root, PART)
    assert list(part.images) == ["000a", "0b1c", "f00d"]
    assert part.images["0b1c"] == ("train/0b1c.jpg", None, None)
    labels = {(row["image_id"], row["category"]) for row in part.labels}
    assert labels == {("000a", "Cat"), ("0b1c", "Coffee cup"), ("f00d", "Human ear, left")}
    judged = [(row["image_id"], row["category"], row["present"]) for row in part.judged]
    assert judged == [
        ("000a", "Cat", True),
        ("000a", "Human ear, left", False),
        ("0b1c", "Coffee cup", True),
        ("f00d", "Human ear, left", True),
    ]
    assert part.counts == {"Cat": 1, "Coffee cup": 2}
    annotations = list(part.annotations(lambda image_id: (40, 80)))
    [fault] = [row for row in annotations if isinstance(row, Fault)]
    assert fault.image_id == "0b1c" and fault.reason == "missing_mask" and fault.key == "3333"
    rows = [row for row in annotations if isinstance(row, dict)]
    assert [(row["image_id"], row["category"], row["iscrowd"]) for row in rows] == [
        ("000a", "Cat", False),
        ("000a", "Coffee cup", False),
        ("0b1c", "Coffee cup", True),
    ]
    assert rows[0]["bbox"] == [20, 20, 40, 20] and rows[0]["area"] == 20 * 40
    mask = coco_mask.decode(rows[0]["segmentation"])
    assert mask.shape == (40, 80) and mask[20:, 20:60].all() and mask.sum() == 800
    assert rows[2]["area"] == 20 * 40


def test_groups_are_left_out_of_training(root):
    annotations = read_part(root, PART).annotations(lambda image_id: (40, 80))
    rows = [row for row in annotations if isinstance(row, dict)]
    kept = learnable_annotations(rows, {"Cat", "Coffee cup"})
    assert [row["image_id"] for row in kept] == ["000a", "000a"]


def test_without_image_level_labels_nothing_but_what_is_outlined_was_judged(root):
    part = read_part(root, SimpleNamespace(**{**vars(PART), "labels": ""}))
    assert part.judged == () and part.labels is None


def test_masks_of_pictures_that_can_not_be_used_are_passed_over(root):
    part = read_part(root, PART)
    assert list(part.annotations(lambda image_id: None)) == []


def test_small_blocks_give_the_same_rows(root, monkeypatch):
    whole = list(read_part(root, PART).annotations(lambda image_id: (40, 80)))
    monkeypatch.setattr(openimages, "BLOCK", 1)
    assert list(read_part(root, PART).annotations(lambda image_id: (40, 80))) == whole


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [("labels", "a,b\n1,2\n", "ImageID"), ("instances", "", "it is empty"), ("labels", "ImageID,ImageID\n", "twice")],
)
def test_a_file_of_another_kind_is_named_with_the_columns_wanted(root, name, text, told):
    (root / getattr(PART, name)).write_text(text)
    with pytest.raises(SourceError, match=rf"{getattr(PART, name)}.*{told}"):
        read_part(root, PART)


def test_the_split_is_counted():
    counts = {"a": 5, "b": 9, "c": 1, "d": 5, "e": 2}
    vocabulary = counted_vocabulary(counts, 2, 2)
    assert vocabulary.base == ("b", "a") and vocabulary.novel == ("e", "c")
    with pytest.raises(VocabularyError, match="objects of 5 only"):
        counted_vocabulary(counts, 4, 2)


def test_localized_narratives_are_captions(root):
    lines = [
        '{"image_id": "000a", "caption": " In this picture we see a cat. "}',
        '{"image_id": "f00d", "caption": "An ear."}',
    ]
    (root / "narratives.jsonl").write_text("\n".join(lines) + "\n")
    rows = list(read_part(root, SimpleNamespace(**{**vars(PART), "captions": "narratives.jsonl"})).captions)
    assert [(row["image_id"], row["text"]) for row in rows] == [
        ("000a", "In this picture we see a cat."),
        ("f00d", "An ear."),
    ]
    assert len({row["caption_id"] for row in rows}) == 2
    (root / "narratives.jsonl").write_text("no json\n" + "\n".join([*lines, '{"image_id": "x", "caption": null}']))
    fault, first, _, last = read_part(root, SimpleNamespace(**{**vars(PART), "captions": "narratives.jsonl"})).captions
    assert fault.reason == last.reason == "bad_row" and "line 1" in fault.detail and "line 4" in last.detail
    assert first["text"] == "In this picture we see a cat."


def change(root, name, old, new):
    file = root / getattr(PART, name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def annotations(root):
    return list(read_part(root, PART).annotations(lambda image_id: (40, 80)))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0.25,0.75,0.5,1.0", "0.75,0.25,0.5,1.0", "bad_box"),
        ("0.25,0.75,0.5,1.0", "0.25,0.75,0.5,1e9", "bad_box"),
        ("0.25,0.75,0.5,1.0", "-inf,0.75,0.5,1.0", "bad_box"),
        ("0.25,0.75,0.5,1.0", ",0.75,0.5,1.0", "bad_row"),
        (",000a,", ",,", "bad_row"),
        (mask_name("000a", CAT, "1111"), "x" * 300, "missing_mask"),
        (mask_name("000a", CAT, "1111"), "../x.png", "missing_mask"),
    ],
)
def test_a_bad_row_of_masks_is_a_fault_and_the_others_are_read(root, old, new, reason):
    change(root, "instances", old, new)
    rows = annotations(root)
    assert sorted(row.reason for row in rows if isinstance(row, Fault)) == sorted(["missing_mask", reason])
    assert len([row for row in rows if isinstance(row, dict)]) == 2


def test_a_box_of_a_group_that_is_none_is_a_fault(root):
    change(root, "boxes", "1,0,0.5,0,0.5,0,0,1", "1,0.5,0,0,0.5,0,0,1")
    assert [row.reason for row in annotations(root) if isinstance(row, Fault)] == ["missing_mask", "bad_box"]


def test_a_mask_that_is_no_png_is_a_fault(root):
    file = root / "train-masks" / "train-masks-0" / mask_name("000a", CAT, "1111")
    whole = file.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        file.write_bytes(content)
        assert [row.reason for row in annotations(root) if isinstance(row, Fault)] == ["broken_mask", "missing_mask"]


@pytest.mark.parametrize(
    "text", ["", f"{CAT},Cat,\n", f"{CAT},Cat, tame\n", f"{CAT}\n", f'{CAT},"Cat\n', f"{CAT},Cat\n{CAT},Dog\n"]
)
def test_a_file_of_classes_with_other_columns_is_one_line(root, text):
    (root / PART.classes).write_text(text)
    with pytest.raises(SourceError, match=PART.classes):
        read_part(root, PART)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("labels", f"crowdsource-verification,{CUP}", f"crowdsource,verification,{CUP}"),
        ("labels", f"000a,verification,{CAT},1", f"000a,{CAT},1"),
        ("instances", "0.87,0.1 0.2 1;0.3 0.4 0", "0.87,0.1,0.2,1"),
        ("boxes", f"0b1c,xclick,{CUP}", f"0b1c,x,click,{CUP}"),
        ("boxes", "0b1c,xclick,", "0b1c,"),
        ("boxes", "0,0,1,0,0", "0,0,1,0"),
    ],
)
def test_a_row_with_a_cell_more_or_less_is_a_fault_and_shifts_nothing(root, name, old, new):
    whole = read_part(root, PART)
    wanted = [*whole.labels, *whole.judged, *annotations(root)]
    change(root, name, old, new)
    part = read_part(root, PART)
    rows = [*part.labels, *part.judged, *annotations(root)]
    [fault] = [row for row in rows if isinstance(row, Fault) and row.reason != "missing_mask"]
    assert (
        fault.reason == "bad_row"
        and f"{getattr(PART, name)}, line " in fault.detail
        and " cells where " in fault.detail
    )
    assert [row for row in rows if row != fault and row not in wanted] == []


def test_a_quote_that_is_never_closed_is_told_with_its_line(root):
    change(root, "boxes", "0b1c,xclick", '0b1c,"xclick')
    with pytest.raises(SourceError, match=rf"{PART.boxes}, line 3: a quote is opened and not closed"):
        annotations(root)


def test_a_folder_whose_name_is_a_pattern_is_a_folder(root):
    odd = root.parent / "a[1]*?"
    root.rename(odd)
    assert len(annotations(odd)) == 4
