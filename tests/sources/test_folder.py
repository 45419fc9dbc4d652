"""Any folder with a table: every kind of file, captions, labels, or both."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from sources.folder import read_part
from sources.part import SourceError

ROWS = [
    {"image": "a.jpg", "caption": "a cat, asleep", "labels": "cat; cup"},
    {"image": "a.jpg", "caption": "one cat", "labels": ""},
    {"image": "sub/b.png", "caption": "", "labels": "dog"},
    {"image": "c.jpg", "caption": " ", "labels": ""},
    {"image": "", "caption": "nothing to see", "labels": ""},
]


def part(name):
    return SimpleNamespace(images="pictures", captions=name)


def write(root, name):
    frame = pd.DataFrame(ROWS)
    if name.endswith(".csv"):
        (root / name).write_text("\ufeff" + frame.to_csv(index=False))
    elif name.endswith(".tsv"):
        frame.to_csv(root / name, sep="\t", index=False)
    elif name.endswith(".jsonl"):
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        frame.to_parquet(root / name)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_what_was_written_is_read_back(tmp_path, name):
    write(tmp_path, name)
    read = read_part(tmp_path, part(name))
    assert read.images == {
        "a.jpg": ("pictures/a.jpg", None, None),
        "sub/b.png": ("pictures/sub/b.png", None, None),
        "c.jpg": ("pictures/c.jpg", None, None),
    }
    assert [(row["image_id"], row["text"]) for row in read.captions] == [
        ("a.jpg", "a cat, asleep"),
        ("a.jpg", "one cat"),
    ]
    assert [tuple(row.values()) for row in read.labels] == [("a.jpg", "cat"), ("a.jpg", "cup"), ("sub/b.png", "dog")]
    assert [(fault.image_id, fault.reason) for fault in read.faults] == [("c.jpg", "empty_caption"), ("", "bad_row")]


def test_lists_of_labels_in_json(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"file": "a.jpg", "tags": ["cat", "hot dog"]}\n')
    assert [row["category"] for row in read_part(tmp_path, part("t.jsonl")).labels] == ["cat", "hot dog"]


def test_a_table_without_the_columns_says_which_there_are_and_which_are_wanted(tmp_path):
    (tmp_path / "t.csv").write_text("picture_url,words\na.jpg,cat\n")
    with pytest.raises(SourceError, match=r"columns picture_url, words; wanted one of file names \(image"):
        read_part(tmp_path, part("t.csv"))
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(SourceError, match=r"wanted a table of captions as \.csv"):
        read_part(tmp_path, part("t.xlsx"))
    with pytest.raises(SourceError, match=r"gone\.csv"):
        read_part(tmp_path, part("gone.csv"))
