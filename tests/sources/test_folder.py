"""Any folder with a table: every kind of file, captions, labels, or both."""

import gzip
import json
import os
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sources import folder
from sources.part import MAX_CAPTION, SourceError, text_fault
from tests.sources.listed import listed

read_part = listed(folder.read_part)

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
    labels = [tuple(row.values()) for row in read.labels]
    assert labels == [("a.jpg", "cat"), ("a.jpg", "cup"), ("sub/b.png", "dog")]
    assert [(fault.image_id, fault.reason) for fault in read.faults] == [("c.jpg", "empty_caption"), ("", "bad_row")]


def test_lists_of_labels_in_json(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"file": "a.jpg", "tags": ["cat", "hot dog"]}\n')
    assert [row["category"] for row in read_part(tmp_path, part("t.jsonl")).labels] == ["cat", "hot dog"]


def test_a_table_without_the_columns_says_which_there_are_and_which_are_wanted(tmp_path):
    (tmp_path / "t.csv").write_text("picture_url,words\na.jpg,cat\n")
    with pytest.raises(SourceError, match=r"columns picture_url, words; wanted one of file names \(image"):
        read_part(tmp_path, part("t.csv"))
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(SourceError, match=r"wanted a table as \.csv"):
        read_part(tmp_path, part("t.xlsx"))
    with pytest.raises(SourceError, match=r"gone\.csv"):
        read_part(tmp_path, part("gone.csv"))


def texts(read) -> list[tuple[str, str]]:
    return [(row["image_id"], row["text"]) for row in read.captions]


def test_unquoted_commas_are_faults_with_their_line_and_shift_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,a cat, asleep\nb.jpg,a dog\nc.jpg,one, two, three\nd.jpg\n")
    read = read_part(tmp_path, part("t.csv"))
    assert texts(read) == [("b.jpg", "a dog")] and list(read.images) == ["b.jpg"]
    assert [fault.reason for fault in read.faults] == ["bad_row"] * 3
    assert "line 2: 3 cells where the first line has 2" in read.faults[0].detail and "quotes" in read.faults[0].detail
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,a cat, asleep\nb.jpg,a dog, awake\n")
    with pytest.raises(SourceError, match=r"no row with a file name; the first row.*line 2: 3 cells"):
        read_part(tmp_path, part("t.csv"))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,caption,labels", "b.jpg,a cat, asleep,"),
        ("image,caption,labels,", "b.jpg,a cat, asleep,,"),
        ("image,caption,", "b.jpg,a cat, asleep"),
        ("image,caption", "b.jpg,a cat,"),
    ],
)
def test_an_unquoted_comma_before_empty_cells_is_a_fault_and_shifts_nothing(tmp_path, header, row):
    """The cell too much is empty, but which it is nobody knows."""
    good = "a.jpg,a dog" + "," * (header.count(",") - 1)
    (tmp_path / "t.csv").write_text(f"{header}\n{good}\n{row}\n")
    read = read_part(tmp_path, part("t.csv"))
    assert texts(read) == [("a.jpg", "a dog")] and not list(read.labels)
    assert [fault.detail.split(" cells")[0] for fault in read.faults] == [
        f"{tmp_path}/t.csv, line 3: {row.count(',') + 1}"
    ]


def test_what_spreadsheets_write_is_read(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbf"image","caption",\r\n"a.jpg","two ""cats"",\r\nasleep",\r\n\r\n')
    assert texts(read_part(tmp_path, part("t.csv"))) == [("a.jpg", 'two "cats",\r\nasleep')]
    (tmp_path / "t.tsv").write_bytes("image\tcaption\r\na.jpg\ta café\r\n".encode("utf-16"))
    assert texts(read_part(tmp_path, part("t.tsv"))) == [("a.jpg", "a café")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "no line of column names"),
        ("t.csv", b"image,caption\n", "no row with a file name"),
        ("t.csv", b"image,caption,image\n1,2,3\n", "has the column image twice"),
        (
            "t.csv",
            b'image,caption\na.jpg,a cat\nb.jpg,"a dog\nc.jpg,a cup\n',
            "line 3: a quote is opened and not closed",
        ),
        ("t.csv", b'image,caption\na.jpg,"' + b"x\n" * 200_000, "line 2: a text is too long, or a quote is opened"),
        ("t.csv", b"image,caption\na.jpg," + b"x" * 3_000_000, "line 2 has more than"),
        ("t.csv", b"x" * 3_000_000, "line 1 has more than"),
        ("t.csv", gzip.compress(b"image,caption\n"), "is compressed"),
        ("t.csv", b"\xff\xfex", "set the ingest section"),
        ("t.jsonl", b"", "has the columns ; wanted"),
        ("t.jsonl", b"[1]\n", "has the columns ; wanted"),
        ("t.parquet", b"", "can't be read as Parquet"),
        ("t.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "can't be read as Parquet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_a_table_that_is_none_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        read_part(tmp_path, part(name))
    assert name in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_broken_line_of_json_is_a_fault_with_its_number(tmp_path):
    good = '{"image": "%s.jpg", "caption": "a cat"}\n'
    bad = ['{"image": "x.jpg", "caption": "a\n', "[]\n", '{"image": 7, "caption": "x"}\n', "[" * 100_000 + "\n"]
    bad += ['{"image": "x.jpg", "caption": ["a", "b"]}\n', '{"image": "x.jpg", "image": "y.jpg"}\n', "9" * 5000 + "\n"]
    (tmp_path / "t.jsonl").write_text(good % "a" + "\n" + "".join(bad) + good % "b")
    read = read_part(tmp_path, part("t.jsonl"))
    assert texts(read) == [("a.jpg", "a cat"), ("b.jpg", "a cat")]
    assert [fault.detail.split(": ")[0] for fault in read.faults] == [
        f"{tmp_path}/t.jsonl, line {3 + i}" for i in range(7)
    ]


def test_a_quote_inside_a_row_costs_that_row_alone(tmp_path):
    (tmp_path / "t.csv").write_text('image,caption\na.jpg,"a "big" cat"\nb.jpg,a "big" dog\n')
    read = read_part(tmp_path, part("t.csv"))
    assert texts(read) == [("b.jpg", 'a "big" dog')] and "line 2" in read.faults[0].detail


def test_columns_of_other_types_are_told(tmp_path):
    columns = {"image": ["a.jpg", "b.jpg", "c.jpg"], "caption": [1, 2, 3]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"no row with a file name; .*row 1: '1' is no caption"):
        read_part(tmp_path, part("t.parquet"))
    pq.write_table(pa.table({"image": [b"a.jpg"], "caption": ["a cat"]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="is no file name"):
        read_part(tmp_path, part("t.parquet"))
    both = pa.table({"image": pa.array(["a.jpg", None]).dictionary_encode(), "labels": [["cat", "cup"], None]})
    pq.write_table(both, tmp_path / "t.parquet")
    read = read_part(tmp_path, part("t.parquet"))
    assert [row["category"] for row in read.labels] == ["cat", "cup"] and [f.reason for f in read.faults] == ["bad_row"]


def test_a_date_that_is_none_is_one_line(tmp_path):
    taken = pa.array([2**31 - 1], pa.date32())
    pq.write_table(pa.table({"image": ["a.jpg"], "caption": ["a cat"], "taken": taken}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet can't be read as Parquet"):
        read_part(tmp_path, part("t.parquet"))


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError, match="a pipe"):
            read_part(tmp_path, part(name))


def test_what_is_no_utf8_comes_as_what_ingest_rejects(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"image,caption\na.jpg,a caf\xe9\n\xff.jpg,a cat\nb.jpg,a dog\n")
    read = read_part(tmp_path, part("t.csv"))
    faults = [text_fault(row) for row in read.captions]
    assert [fault and fault.reason for fault in faults] == ["no_unicode", "no_unicode", None]
    assert text_fault({"image_id": "a", "text": "x" * MAX_CAPTION}) is None
    assert text_fault({"image_id": "a", "text": "x" * (MAX_CAPTION + 1)}).reason == "long_text"


def test_columns_that_differ_in_case_alone_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("file,File,caption\na.jpg,b.jpg,a cat\n")
    with pytest.raises(SourceError, match="has the column file twice; give each its own name"):
        read_part(tmp_path, part("t.csv"))
