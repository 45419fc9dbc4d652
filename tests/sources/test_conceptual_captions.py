"""Conceptual Captions: a TSV without header, file names as fetching tools make them, rows that are broken."""

import zlib
from types import SimpleNamespace

import pytest

from sources import conceptual_captions
from sources.part import SourceError, text_fault
from tests.sources.listed import listed

read_part = listed(conceptual_captions.read_part)

ROWS = [("a very typical bus station", "http://a.example/1.jpg"), ("sierra looked stunning", "http://b.example/2.png")]


def part(**changes):
    return SimpleNamespace(
        **{"images": "pictures", "captions": "Train_GCC-training.tsv", "file_name": "{row:05d}.jpg"} | changes
    )


@pytest.fixture()
def root(tmp_path):
    text = "".join(f"{caption}\t{address}\n" for caption, address in ROWS) + "no address here\n\tno caption\n"
    (tmp_path / "Train_GCC-training.tsv").write_text(text)
    return tmp_path


def test_what_was_written_is_read_back(root):
    read = read_part(root, part())
    assert read.images == {"cc_0": ("pictures/00000.jpg", None, None), "cc_1": ("pictures/00001.jpg", None, None)}
    assert [(row["image_id"], row["text"]) for row in read.captions] == [(f"cc_{i}", ROWS[i][0]) for i in (0, 1)]
    assert [(fault.image_id, fault.reason) for fault in read.faults] == [("cc_2", "bad_row"), ("cc_3", "bad_row")]


def test_names_can_be_made_of_the_address(root):
    names = read_part(root, part(file_name="{row}_{crc32}")).images
    assert names["cc_1"][0] == f"pictures/1_{zlib.crc32(ROWS[1][1].encode())}"
    with pytest.raises(SourceError, match="no pattern of row, crc32, md5"):
        read_part(root, part(file_name="{nothing}.jpg"))


def test_a_missing_file_is_named(root):
    with pytest.raises(SourceError, match=r"other\.tsv"):
        read_part(root, part(captions="other.tsv"))


def test_bytes_of_another_encoding_are_not_replaced_by_others(root):
    with (root / "Train_GCC-training.tsv").open("ab") as file:
        file.write(b"a caf\xe9\thttp://c.example/3.png\n")
    read = read_part(root, part())
    assert [fault and fault.reason for fault in map(text_fault, read.captions)] == [None, None, "no_unicode"]
    assert list(read.images) == ["cc_0", "cc_1", "cc_4"]
    with pytest.raises(SourceError, match="no pattern"):
        read_part(root, part(file_name="{row.nothing}"))
