"""Decisions of people: read from tables, Label Studio's and CVAT's files, and laid over labels; every fault is told."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exports.labelled import Category, Labelled
from exports.writers import write_format
from sources.decisions import read_decisions
from sources.part import SourceError
from sources.reviewed import Review
from structures.errors import UserError
from structures.label_ids import label_id
from structures.masks import box_of, decode, encode

HEIGHT, WIDTH = 30, 40
NAMES = ("cat", "cup")


def block(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def row(image_id, category, instance, mask):
    x, y, width, height = box_of(encode(mask))
    own = {"box": [x, y, x + width, y + height], "segmentation": encode(mask), "area": float(mask.sum())}
    measures = {"score": 3.5, "rank": 4, "coverage": 0.5, "agreement": 0.25}
    return {"image_id": image_id, "category": category, "instance": instance} | own | measures


ROWS = [
    row("a.png", "cat", 0, block(2, 3, 20, 20)),
    row("a.png", "cat", 1, block(25, 3, 39, 9)),
    row("c.png", "cup", 0, block(5, 5, 15, 25)),
]
SIZES = {name: (HEIGHT, WIDTH) for name in ("a.png", "b.png", "c.png")}


def by_image(rows=ROWS):
    return [(name, [r for r in rows if r["image_id"] == name]) for name in sorted({r["image_id"] for r in rows})]


def laid_over(decisions, rows=ROWS):
    """Rows of reviewed_masks by key, and the keys of those dropped."""
    review = Review(decisions, NAMES)
    review.check(by_image(rows), SIZES)
    kept, dropped = {}, []
    for of_image, gone in review.apply(by_image(rows)):
        kept |= {(r["image_id"], r["category"], r["instance"]): r for r in of_image}
        dropped += [(r["image_id"], r["category"], r["instance"]) for r, _ in gone]
    return kept, dropped


def table(tmp_path, text):
    file = tmp_path / "decisions.csv"
    file.write_text("image_id,category,instance,decision,new_category,segmentation,box,by,label\n" + text)
    return read_decisions(file, "ann")


def test_a_table_of_every_kind_of_decision(tmp_path):
    mask = json.dumps(encode(block(3, 3, 18, 18))).replace('"', '""')
    kept, dropped = laid_over(
        table(
            tmp_path,
            f'a.png,cat,0,mask,,"{mask}",,bob,\na.png,cat,1,drop,,,,,\nc.png,cup,0,category,cat,,,,\n',
        )
    )
    assert dropped == [("a.png", "cat", 1)]
    mended, moved = kept["a.png", "cat", 0], kept["c.png", "cat", 0]
    assert np.array_equal(decode(mended["segmentation"]), block(3, 3, 18, 18)) and mended["area"] == 225
    assert (mended["decision"], mended["decided_by"], mended["box"]) == ("mask", "bob", [3, 3, 18, 18])
    assert (moved["decision"], moved["decided_by"]) == ("category", "ann") and moved["area"] == 200
    assert mended["score"] == 3.5, "what the machine measured stays beside"


def test_a_parquet_table_holds_masks_as_they_are(tmp_path):
    rle = encode(block(3, 3, 18, 18))
    rows = [
        {"image_id": "a.png", "category": "cat", "instance": 0, "decision": "mask", "segmentation": rle, "box": None},
        {"image_id": "c.png", "category": "cup", "instance": 0, "decision": "box", "segmentation": None,
         "box": [4.0, 5.0, 15.0, 10.0]},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    kept, _ = laid_over(read_decisions(tmp_path / "d.parquet", "ann"))
    assert kept["a.png", "cat", 0]["segmentation"] == rle
    cut = kept["c.png", "cup", 0]
    assert cut["box"] == [4, 5, 15, 10] and np.array_equal(decode(cut["segmentation"]), block(5, 5, 15, 10))
    assert kept["a.png", "cat", 1]["decided_by"] == "" == kept["a.png", "cat", 1]["decision"]


def test_a_label_that_changes_its_category_takes_a_number_that_is_free(tmp_path):
    rows = [*ROWS[:2], row("a.png", "cup", 0, block(0, 0, 9, 9)), ROWS[2]]
    kept, _ = laid_over(table(tmp_path, "a.png,cat,1,category,cup,,,,\n"), rows)
    assert set(kept) == {("a.png", "cat", 0), ("a.png", "cup", 0), ("a.png", "cup", 1), ("c.png", "cup", 0)}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.png,cat,7,drop,,,,,\n", "line 3: there is no label 'cat' 7 of image 'a.png'"),
        ("z.png,cat,0,keep,,,,,\n", "line 3: there is no label 'cat' 0 of image 'z.png'"),
        ("a.png,cat,0,keep,,,,,\na.png,cat,0,drop,,,,,\n", "line 4: a second decision about the label of line 3"),
        ("a.png,cat,0,category,dragon,,,,\n", "line 3: 'dragon' is no category of this run"),
        ("a.png,cat,0,keep,,,,,00112233\n", "line 3: the label was made anew since, or is another run's"),
        ('a.png,cat,0,box,,,"[0, 0, 90, 9]",,\n', "line 3: the box [0.0, 0.0, 90.0, 9.0] is none of a picture"),
        ('a.png,cat,0,box,,,"[30, 22, 39, 29]",,\n', "line 3: nothing of the mask lies inside the box"),
        ('a.png,cat,0,mask,,"[[1, 1, 2, 1]]",,,\n', "line 3: no polygon of three points"),
    ],
)
def test_a_decision_that_does_not_fit_names_its_row_and_nothing_is_applied(tmp_path, text, what):
    with pytest.raises(UserError) as error:
        laid_over(table(tmp_path, "a.png,cat,1,drop,,,,,\n" + text))
    assert what in str(error.value) and "none was applied" in str(error.value)


def test_a_mask_of_another_size_is_told(tmp_path):
    small = json.dumps(encode(np.ones((4, 4), bool))).replace('"', '""')
    with pytest.raises(UserError, match=r"line 2: a mask of size \[4, 4\] in a picture of height and width \[30, 40\]"):
        laid_over(table(tmp_path, f'a.png,cat,0,mask,,"{small}",,,\n'))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.png,cat,0,burn,,,,,\n", "line 2: decision is 'burn', wanted one of keep, drop"),
        ("a.png,cat,0,mask,,,,,\n", "line 2: the decision mask needs a segmentation"),
        ("a.png,cat,x,keep,,,,,\n", "line 2: instance is 'x'"),
        ('a.png,cat,0,box,,,"[1, 2]",,\n', r"line 2: box is \[1, 2\], wanted x0, y0, x1, y1"),
        ("a.png,cat,0,keep\n", "line 2: 4 cells where the first line has 9"),
    ],
)
def test_a_row_that_is_no_decision_is_told(tmp_path, text, what):
    with pytest.raises(SourceError, match=what):
        table(tmp_path, text)


# Tools: what people were given is written by the project's own exports


def given(rows=ROWS):
    labels = [
        r | {"bbox": box_of(r["segmentation"]), "confidence": 0.5, "decided_by": "", "label": label_id(r)} for r in rows
    ]
    entries = [
        (
            {"image_id": name, "path": f"x/{name}", "width": WIDTH, "height": HEIGHT},
            [r for r in labels if r["image_id"] == name],
        )
        for name in SIZES
    ]
    return Labelled("toy", tuple(map(Category, NAMES)), lambda: iter(entries))


def tasks(tmp_path, shape="brush"):
    write_format("label_studio", tmp_path, given(), pictures=False, shape=shape, picture_url="{path}")
    return json.loads((tmp_path / "tasks.json").read_text())


def accepted(task, by="ann@example.org"):
    """What Label Studio's export says where a person submits the predictions."""
    result = [dict(region) for region in task["predictions"][0]["result"]]
    return task | {"id": 1, "annotations": [{"id": 5, "completed_by": {"email": by}, "result": result}]}


def back(tmp_path, content):
    (tmp_path / "back.json").write_text(json.dumps(content))
    return read_decisions(tmp_path / "back.json", "ann")


@pytest.mark.parametrize("shape", ["brush", "polygons"])
def test_what_nobody_touched_in_label_studio_comes_back_as_it_was(tmp_path, shape):
    untouched = [task | {"id": i, "annotations": []} for i, task in enumerate(tasks(tmp_path, shape))]
    assert back(tmp_path, untouched) == []
    kept, dropped = laid_over(back(tmp_path, [accepted(task) for task in tasks(tmp_path, shape)]))
    assert not dropped and len(kept) == 3
    for before, after in zip(ROWS, kept.values(), strict=True):
        assert after == before | {"decision": "keep", "decided_by": "ann@example.org"}


def test_label_studio_drops_mends_renames_and_draws(tmp_path):
    content = [accepted(task) for task in tasks(tmp_path)]
    first, second = content[0]["annotations"][0]["result"]
    content[0]["annotations"][0]["result"] = [
        second | {"value": second["value"] | {"brushlabels": ["cup"]}},
        {"id": "x1", "type": "polygonlabels", "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
         "value": {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["cat"]}},
    ]  # fmt: skip
    content[1]["annotations"][0]["result"] = [first | {"id": "x2"}]
    content[2]["annotations"][0]["was_cancelled"] = True
    kept, dropped = laid_over(back(tmp_path, content))
    assert dropped == [("a.png", "cat", 0)]
    assert kept["a.png", "cup", 0]["decision"] == "category"
    drawn = kept["a.png", "cat", 2]
    assert np.array_equal(decode(drawn["segmentation"]), block(0, 0, 20, 15)) and drawn["decision"] == "add"
    assert kept["b.png", "cat", 0]["box"] == ROWS[0]["box"], "in a picture that had no label"
    assert kept["c.png", "cup", 0]["decided_by"] == "", "it was skipped"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda task: task["data"].pop("labels"), "task 1: its data name no labels of ours"),
        (lambda task: task["annotations"].append(task["annotations"][0]), "task 1: 2 annotations"),
        (lambda task: task.pop("annotations"), "task 1: no list annotations"),
        (
            lambda task: task["annotations"][0]["result"][0].update(type="rectanglelabels"),
            "a region of type 'rectangle",
        ),
        (
            lambda task: task["annotations"][0]["result"][0].update(original_width=7),
            "a brush of 1200 pixels in a picture of",
        ),
        (lambda task: task["annotations"][0]["result"][0]["value"]["rle"].pop(3), "a brush of"),
    ],
)
def test_a_label_studio_file_that_is_not_ours_or_is_not_one_decision_is_told(tmp_path, change, what):
    task = accepted(tasks(tmp_path)[0])
    change(task)
    with pytest.raises(SourceError, match=what):
        back(tmp_path, [task])


def test_labels_that_were_made_anew_since_are_told(tmp_path):
    content = [accepted(tasks(tmp_path)[0])]
    other = [row("a.png", "cat", 0, block(3, 3, 20, 20)), *ROWS[1:]]
    with pytest.raises(UserError, match=f"task 1, label {label_id(ROWS[0])}: there is no label .* or is another run's"):
        laid_over(back(tmp_path, content), other)


def from_cvat(tmp_path):
    """What CVAT exports of what it imported: its own file names and ids, uncompressed RLE, attributes that were kept."""
    write_format("cvat", tmp_path, given(), pictures=False)
    handed_out = tmp_path / "instances_default.json"
    content = json.loads(handed_out.read_text())
    for image in content["images"]:
        del image["original_id"]
    for annotation in content["annotations"]:
        flat = decode(annotation["segmentation"]).ravel("F").astype(int)
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges, len(flat)]).tolist()
        annotation["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": ([0] if flat[0] else []) + counts}
        annotation["attributes"] |= {"occluded": False, "is_crowd": True}
    return handed_out, content


def test_what_nobody_touched_in_cvat_comes_back_as_it_was(tmp_path):
    handed_out, content = from_cvat(tmp_path)
    (tmp_path / "back.json").write_text(json.dumps(content))
    kept, dropped = laid_over(read_decisions(tmp_path / "back.json", "cy", handed_out))
    assert not dropped
    for before, after in zip(ROWS, kept.values(), strict=True):
        assert after == before | {"decision": "keep", "decided_by": "cy"}


def test_what_was_deleted_in_cvat_is_dropped_where_it_is_known_what_was_handed_out(tmp_path):
    handed_out, content = from_cvat(tmp_path)
    drawn = content["annotations"].pop(1) | {"attributes": {"label": "", "occluded": False}, "category_id": 2}
    content["annotations"][0] |= {"segmentation": [], "bbox": [2, 3, 10, 10], "iscrowd": 0}
    content["annotations"].append(drawn)
    (tmp_path / "back.json").write_text(json.dumps(content))
    kept, dropped = laid_over(read_decisions(tmp_path / "back.json", "cy", handed_out))
    assert dropped == [("a.png", "cat", 1)]
    assert kept["a.png", "cup", 0]["decision"] == "add" and kept["a.png", "cup", 0]["box"] == ROWS[1]["box"]
    assert kept["a.png", "cat", 0]["decision"] == "box" and kept["a.png", "cat", 0]["area"] == 100
    with pytest.raises(SourceError, match=r"annotations\[2\]: a new label in 'x/a.png': point review.handed_out"):
        read_decisions(tmp_path / "back.json", "cy")
    content["annotations"].pop()
    (tmp_path / "back.json").write_text(json.dumps(content))
    _, dropped = laid_over(read_decisions(tmp_path / "back.json", "cy"))
    assert not dropped


def test_a_file_that_is_neither_is_told(tmp_path):
    with pytest.raises(SourceError, match="is neither Label Studio's JSON"):
        back(tmp_path, {"results": []})
    pd.DataFrame({"image_id": ["a"]}).to_csv(tmp_path / "x.csv")
    with pytest.raises(SourceError, match="has no column category, instance, decision"):
        read_decisions(tmp_path / "x.csv", "ann")
