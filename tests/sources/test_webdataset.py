"""WebDataset's tars, whole as img2dataset writes them and with everything that may be wrong in one."""

import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline.picture_list import Picture, PictureList
from sources import webdataset
from sources.images import ImageError, inspect_image, read_content, read_image
from sources.part import Fault, SourceError, text_fault
from structures.errors import UserError
from tests.sources.listed import listed
from tests.sources.tar_files import jpeg, samples, write_log, write_tar

read_part = listed(webdataset.read_part)


def part(**changes):
    return SimpleNamespace(**{"images": "cc", "tars": "*.tar", "caption_key": ""} | changes)


def rows(read) -> list[tuple[str, str]]:
    """(image_id, caption) of those that are no faults."""
    return [(row["image_id"], row["text"]) for row in read.captions if not isinstance(row, Fault)]


def faults(read) -> dict[str, str]:
    """{image_id: reason} of members, captions and texts, which are kept to be read again."""
    read.captions, found = list(read.captions), list(read.faults)
    for row in read.captions:
        found += [fault for fault in (row if isinstance(row, Fault) else text_fault(row),) if fault]
    assert all(len(fault.detail.splitlines()) == 1 for fault in found)
    return {fault.image_id: fault.reason for fault in found}


def test_what_was_written_is_read_back(tmp_path):
    write_tar(tmp_path / "cc" / "00000.tar", samples("a cat", "a dog"))
    write_tar(tmp_path / "cc" / "00001.tar", samples(" two cups\n", first=10))
    (tmp_path / "cc" / "00000_stats.json").write_text("{}")
    read = read_part(tmp_path, part())
    assert read.images == {
        "cc/00000/000000000": ("cc/00000.tar#000000000.jpg", None, None),
        "cc/00000/000000001": ("cc/00000.tar#000000001.jpg", None, None),
        "cc/00001/000000010": ("cc/00001.tar#000000010.jpg", None, None),
    }
    assert rows(read) == [(image_id, text) for image_id, text in zip(read.images, ("a cat", "a dog", "two cups"))]
    assert not read.faults and read.labels == () and read.judged is None and not read.missing


def test_a_picture_is_read_by_what_ingest_recorded(tmp_path):
    file = write_tar(tmp_path / "cc" / "00000.tar", samples("a cat", "a dog"))
    path = "cc/00000.tar#000000001.jpg"
    width, height, digest = inspect_image((tmp_path, path, 2000))
    assert (width, height) == (40, 30) and read_content(tmp_path, path, digest) == jpeg((1, 90, 30))
    assert read_image(tmp_path, path, digest).shape == (30, 40, 3)
    assert inspect_image((tmp_path, path, 1000)).reason == "too_many_pixels"
    status, content = file.stat(), bytearray(file.read_bytes())
    place = content.index(jpeg((1, 90, 30)))
    content[place + 200] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    for name, wanted in ((path, "changed_image"), ("cc/00000.tar#000000007.jpg", "missing_image")):
        with pytest.raises(ImageError) as error:
            read_image(tmp_path, name, digest)
        assert error.value.reason == wanted and name in str(error.value).replace(" holds no picture ", "#")
    file.unlink()
    assert inspect_image((tmp_path, path, 2000)).reason == "missing_image"


def test_a_tar_outside_the_data_sets_folder_is_not_read(tmp_path):
    write_tar(tmp_path / "elsewhere" / "00000.tar", samples("a cat"))
    root = tmp_path / "root"
    (root / "cc").mkdir(parents=True)
    (root / "cc" / "00000.tar").symlink_to(tmp_path / "elsewhere" / "00000.tar")
    with pytest.raises(ImageError, match="leads out of"):
        read_part(root, part())
    for path in ("cc/00000.tar#000000000.jpg", "../elsewhere/00000.tar#000000000.jpg"):
        assert inspect_image((root, path, 2000)).reason == "outside_root"
    os.mkfifo(root / "pipe.tar")
    assert inspect_image((root, "pipe.tar#a.jpg", 2000)).reason == "missing_image"


def test_a_file_whose_own_name_looks_like_a_members_is_read_as_ever(tmp_path):
    (tmp_path / "x.tar#a.jpg").write_bytes(jpeg())
    assert inspect_image((tmp_path, "x.tar#a.jpg", 2000))[:2] == (40, 30)


def test_members_that_cant_be_used_are_rejects_by_reason(tmp_path):
    picture = jpeg()
    members = [
        ("good.jpg", picture), ("good.txt", "a cat"),
        ("./dotted.JPG", picture), ("./dotted.txt", "a cat"),
        ("sub/good.png", picture), ("sub/good.txt", "a cat"), ("sub/good.seg.png", b"more of it"), ("sub/good.npy", b""),
        ("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("link.txt", "a cat"),
        ("twice.jpg", picture), ("twice.jpg", jpeg((0, 0, 0))), ("twice.txt", "a cat"),
        ("two.jpg", picture), ("two.png", picture), ("two.txt", "a cat"),
        ("alone.jpg", picture),
        ("no_picture.txt", "a cat"), ("v1.2.jpg", picture), ("v1.2.txt", "a cat"),
        ("silent.jpg", picture), ("silent.txt", " \n"), ("zero.jpg", b""), ("zero.txt", b""),
        ("latin.jpg", picture), ("latin.txt", b"caf\xe9"),
        ("long.jpg", picture), ("long.txt", "x" * 10_001), ("longer.jpg", picture), ("longer.txt", bytes((1 << 20) + 1)),
        ("../up.jpg", picture), ("/root.jpg", picture), ("README", "words"), ("._good.jpg", b"what a Mac adds"), ("good", b""),
    ]  # fmt: skip
    write_tar(tmp_path / "cc" / "x.tar", members)
    read = read_part(tmp_path, part())
    assert faults(read) == {
        f"cc/x/{name}": reason
        for name, reason in {
            "link": "no_regular_file",
            "twice": "repeated_member",
            "two": "several_pictures",
            "alone": "no_caption",
            "no_picture": "no_picture",
            "v1": "no_picture",
            "silent": "empty_caption",
            "zero": "empty_caption",
            "latin": "no_unicode",
            "long": "long_text",
            "longer": "long_text",
            "../up.jpg": "bad_path",
            "/root.jpg": "bad_path",
            "README": "no_key",
            "._good.jpg": "no_key",
            "good": "no_key",
        }.items()
    }
    assert [image_id.removeprefix("cc/x/") for image_id, _ in rows(read)][:3] == ["good", "dotted", "sub/good"]
    for image_id, (path, *_) in read.images.items():
        picture_or_fault = inspect_image((tmp_path, path, 2000))
        assert isinstance(picture_or_fault, ImageError) == (image_id == "cc/x/zero")
    [two] = [fault.detail for fault in read.faults if fault.reason == "several_pictures"]
    assert two == f"{tmp_path}/cc/x.tar, members two.jpg, two.png, two.txt: wanted one picture of a key"


def test_captions_of_json(tmp_path):
    members = [(f"{i}.jpg", jpeg()) for i in range(6)]
    texts = [{"title": "a cat"}, {"title": ["a cat", "", "one cat"]}, {"other": "x"}, {"title": 7}, [], None]
    members += [(f"{i}.json", json.dumps(text) if text is not None else b"{") for i, text in enumerate(texts)]
    write_tar(tmp_path / "cc" / "x.tar", [*members, ("6.jpg", jpeg()), ("6.txt", "a cat")])
    read = read_part(tmp_path, part(caption_key="title"))
    reasons = ("empty_caption", "bad_row", "bad_row", "bad_row", "no_caption")
    assert faults(read) == {f"cc/x/{i}": reason for i, reason in enumerate(reasons, start=2)}
    found = [(row["caption_id"], row["text"]) for row in read.captions if not isinstance(row, Fault)]
    assert found == [("cc/x/0", "a cat"), ("cc/x/1/0", "a cat"), ("cc/x/1/2", "one cat")]


def test_what_could_not_be_fetched_is_missing_and_what_the_tar_and_its_table_disagree_about_is_a_fault(tmp_path):
    write_tar(tmp_path / "cc" / "00000.tar", samples("a cat", "a dog"))
    log = [
        ("000000000", "success", None),
        ("000000002", "failed_to_download", "HTTP Error 404: Not Found"),
        ("000000003", "failed_to_resize", "Image decoding error"),
        ("000000004", "failed\nby magic", None),
        ("000000005", "success", None),
        ("000000001", "failed_to_download", "timed out"),
        ("000000006", None, None),
    ]
    write_log(tmp_path / "cc" / "00000.parquet", log)
    read = read_part(tmp_path, part())
    missing = list(read.missing)
    assert {fault.image_id.removeprefix("cc/00000/00000000"): fault.reason for fault in missing} == {
        "2": "failed_to_download",
        "3": "failed_to_resize",
        "4": "failed_otherwise",
    }
    assert len(read.images) == 2
    assert missing[0].detail == (
        f"http://x.example/1: failed_to_download, HTTP Error 404: Not Found ({tmp_path}/cc/00000.parquet, row 2)"
    )
    assert [(fault.image_id[-1], fault.reason) for fault in read.faults] == [
        ("5", "missing_image"),
        ("1", "bad_row"),
        ("6", "bad_row"),
    ]


def test_a_table_beside_some_tars_alone_or_of_another_kind_is_refused(tmp_path):
    for name in ("00000", "00001"):
        write_tar(tmp_path / "cc" / f"{name}.tar", samples("a cat"))
    write_log(tmp_path / "cc" / "00000.parquet", [("000000000", "success", None)])
    with pytest.raises(SourceError, match=r"00001\.parquet is not there, though other tars have one"):
        read_part(tmp_path, part())
    assert len(read_part(tmp_path, part(tars="00000.tar")).images) == 1
    (tmp_path / "cc" / "00001.parquet").write_bytes(b"none")
    with pytest.raises(SourceError, match=r"00001\.parquet can't be read as Parquet"):
        read_part(tmp_path, part())
    pd.DataFrame({"url": ["x"]}).to_parquet(tmp_path / "cc" / "00001.parquet")
    with pytest.raises(SourceError, match=r"00001\.parquet has the columns url; wanted key and status"):
        read_part(tmp_path, part())


def tars(read) -> list[str]:
    return sorted({path.partition("#")[0] for path, *_ in read.images.values()})


def test_tars_are_named_by_patterns_and_ranges_of_which_none_may_be_missing(tmp_path):
    for name in ("a/0008", "a/0009", "a/0010", "a/other", "b/0008"):
        write_tar(tmp_path / "cc" / f"{name}.tar", samples("a cat"))
    for pattern, wanted in {
        "*/*.tar": ["a/0008", "a/0009", "a/0010", "a/other", "b/0008"],
        "**/*8.tar": ["a/0008", "b/0008"],
        "a/{0008..0010}.tar": ["a/0008", "a/0009", "a/0010"],
        "*/00{08..10}.tar": ["a/0008", "a/0009", "a/0010", "b/0008"],
    }.items():
        assert tars(read_part(tmp_path, part(tars=pattern))) == [f"cc/{name}.tar" for name in wanted]
    for pattern, message in {
        "*.tar": r"cc holds no \*\.tar; set images to the folder",
        "a/{0008..0011}.tar": r"cc holds no a/0011\.tar",
        "../cc/a/*.tar": "leads out",
        "/a.tar": "leads out",
        "a/{9..8}.tar": "names none, or more than 100000",
        "{0..999999999}.tar": "names none, or more than 100000",
        "{0..999}/{0..999}.tar": "names none, or more than 100000",
    }.items():
        with pytest.raises(SourceError, match=message):
            read_part(tmp_path, part(tars=pattern))
    with pytest.raises(ImageError, match="leads out of"):
        read_part(tmp_path / "cc" / "a", part(images="../b"))


@pytest.mark.parametrize("name", ["00001.tar.gz", "00001.tgz", "00000.tar.zst"])
def test_a_compressed_tar_among_others_is_refused(tmp_path, name):
    write_tar(tmp_path / "cc" / "00000.tar", samples("a cat"))
    (tmp_path / "cc" / name).write_bytes(b"")
    with pytest.raises(SourceError, match=f"{name} is compressed, and can't be read in place: unpack it with gunzip"):
        read_part(tmp_path, part())


def test_a_tar_that_is_not_whole_is_named_with_its_member(tmp_path):
    file = write_tar(tmp_path / "cc" / "00000.tar", samples("a cat", "a dog"))
    file.write_bytes(file.read_bytes()[:-10_000])
    with pytest.raises(SourceError, match=r"cc/00000\.tar is cut short (in|behind) 00000000\d\.(jpg|json|txt)"):
        read_part(tmp_path, part())


def test_a_part_without_a_picture_says_what_the_first_member_lacks(tmp_path):
    write_tar(tmp_path / "cc" / "00000.tar", [("a.txt", "a cat")])
    with pytest.raises(SourceError, match=r"no tar of \*\.tar holds a picture.*a\.txt: none of them is a picture"):
        read_part(tmp_path, part())


def test_ids_that_two_tars_share_are_refused(tmp_path):
    write_tar(tmp_path / "cc" / "a.tar", [("b/c.jpg", jpeg())])
    write_tar(tmp_path / "cc" / "a" / "b.tar", [("c.jpg", jpeg())])
    tars = part(tars="**/*.tar")
    with PictureList(tmp_path / "list") as pictures, pytest.raises(UserError) as error:
        listing = webdataset.read_part(tmp_path, tars).pictures()
        pictures.add(Picture(image_id, 0, "train", *row) for image_id, row in listing)
    assert "the image id cc/a/b/c is another's, too" in str(error.value) and "rename a tar" in str(error.value)
    write_tar(tmp_path / "cc2" / "x.tar#y" / "b.tar", [("c.jpg", jpeg())])
    with pytest.raises(SourceError, match="# in its path"):
        read_part(tmp_path, part(images="cc2", tars="**/*.tar"))


def test_nothing_is_written_beside_the_tars(tmp_path):
    write_tar(tmp_path / "cc" / "00000.tar", samples("a cat"))
    before = sorted(Path(tmp_path).rglob("*"))
    list(read_part(tmp_path, part()).captions)
    assert sorted(Path(tmp_path).rglob("*")) == before
