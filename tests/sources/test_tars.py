"""Tars read in place: what tarfile says of the same tars, and those that are none, or not whole."""

import io
import os
import random
import tarfile

import pytest

from sources.part import SourceError
from sources.tars import Member, _index, members, read_picture
from tests.sources.tar_files import jpeg, samples, write_tar

MOST = 1 << 20
LONG = "folder/" * 30 + "x" * 120 + ".jpg"


def said(file) -> str:
    with pytest.raises(SourceError) as error:
        list(members(file))
    assert len(str(error.value).splitlines()) == 1 and str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_where_tarfile_says(tmp_path, format):
    names = ["a.jpg", "é.jpg", "folder/" + "p" * 120 + "/b.jpg", "empty.txt", "x" * 100, "d.json"]
    names += [LONG] if format != tarfile.USTAR_FORMAT else []
    content = random.Random(1).randbytes
    written = [(name, content(i * 511) if name != "empty.txt" else b"") for i, name in enumerate(names)]
    file = write_tar(tmp_path / "x.tar", [*written, ("folder", tarfile.DIRTYPE, ""), ("é.txt", "é")], format)
    with tarfile.open(file) as tar:
        wanted = [Member(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
    assert list(members(file)) == wanted and len(wanted) == len(names) + 1
    for name, content in written:
        if name.endswith(".jpg"):
            assert read_picture(file, name, MOST) == content


def test_what_is_no_regular_member_is_told_and_has_no_content(tmp_path):
    kinds = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    written = [(f"{i}.jpg", kind, "/etc/passwd") for i, kind in enumerate(kinds)]
    file = write_tar(tmp_path / "x.tar", [*written, ("a.jpg", jpeg())])
    *irregular, last = members(file)
    assert [member.irregular for member in irregular] == ["a hard link", "a symbolic link", *["a device"] * 2, "a pipe"]
    assert last.name == "a.jpg" and read_picture(file, "a.jpg", MOST) == jpeg()
    for member in irregular:
        with pytest.raises(KeyError):
            read_picture(file, member.name, MOST)


def test_sizes_and_names_that_headers_overrule(tmp_path):
    """As writers do for files of 8 GB and more; the ustar header then says 0."""
    header = tarfile.TarInfo("short.jpg")
    header.size, header.pax_headers = 5, {"path": "long.jpg", "comment": "none", "size": "5"}
    block = header.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "x.tar").write_bytes(block + b"12345".ljust(512, b"\0") + bytes(1024))
    assert [(m.name, m.size) for m in members(tmp_path / "x.tar")] == [("long.jpg", 5)]
    large = tarfile.TarInfo("a.jpg")
    large.size = 9 << 30
    (tmp_path / "large.tar").write_bytes(large.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "cut short in a.jpg, of whose 9663676416 bytes 1024 are there" in said(tmp_path / "large.tar")


def test_a_tar_that_is_cut_short_says_where(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", [("a.jpg", bytes(2000)), ("b.jpg", b"x" * 2000)]).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        first, second = (info.offset_data for info in tar)
    file = tmp_path / "x.tar"
    for length, message in (
        (0, "cut short behind the start"),
        (100, "cut short behind the start"),
        (first + 1999, "cut short in a.jpg, of whose 2000 bytes 1999 are there"),
        (first + 2048, "cut short behind a.jpg: no empty block ends it"),
        (second - 100, "cut short behind a.jpg"),
        (second + 10, "cut short in b.jpg, of whose 2000 bytes 10 are there"),
        (second + 2048, "cut short behind b.jpg: no empty block ends it"),
    ):
        file.write_bytes(whole[:length])
        assert message in said(file) and "fetch or pack it again" in said(file)
    file.write_bytes(whole[: second + 2048 + 512])
    assert len(list(members(file))) == 2, "one empty block ends a tar, as GNU tar reads it"


def test_what_is_no_tar_or_damaged_says_behind_which_member(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(b"no tar" * 1000)
    assert "no header of a member behind the start: it is no tar, or damaged" in said(file)
    whole = write_tar(file, samples("a cat", "a dog")).read_bytes()
    file.write_bytes(whole + write_tar(tmp_path / "y.tar", samples("a cup")).read_bytes())
    assert "goes on behind its end, after 000000001.txt: put tars together with tar --concatenate" in said(file)
    with tarfile.open(tmp_path / "y.tar") as tar:
        offset = [info.offset for info in tar][1]
    damaged = bytearray((tmp_path / "y.tar").read_bytes())
    damaged[offset] ^= 1
    (tmp_path / "y.tar").write_bytes(damaged)
    assert "behind 000000000.jpg" in said(tmp_path / "y.tar")
    os.mkfifo(tmp_path / "pipe.tar")
    assert "a pipe" in said(tmp_path / "pipe.tar")
    assert "No such file" in said(tmp_path / "gone.tar")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    assert "is compressed, and can't be read in place: unpack it with gunzip" in said(tmp_path / "x.tar")


def test_kinds_that_have_no_one_place_are_refused(tmp_path):
    sparse = tarfile.TarInfo("a.jpg")
    sparse.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "x.tar").write_bytes(sparse.tobuf() + bytes(1024))
    assert "a.jpg is sparse, which can't be read in place" in said(tmp_path / "x.tar")
    newer = tarfile.TarInfo("GNUSparseFile.0/a.jpg")
    newer.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    (tmp_path / "x.tar").write_bytes(newer.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    assert "GNU.sparse.major" in said(tmp_path / "x.tar")
    sparse.type = b"M"
    (tmp_path / "x.tar").write_bytes(sparse.tobuf() + bytes(1024))
    assert "a.jpg is of the kind b'M'" in said(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "records", [b"12 path=a.jpg", b"x path=a\n", b"-5 path=a\n", b"0 path=a\n", b"99 path=a\n", b"10 size=x\n", b"no"]
)
def test_a_pax_header_that_is_none_is_one_line(tmp_path, records):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    block = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(block + tarfile.TarInfo("a.jpg").tobuf() + bytes(1024))
    assert "a pax header that is none" in said(tmp_path / "x.tar")


def test_a_header_without_bounds_is_not_read(tmp_path):
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 1 << 33
        (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        assert "a header of 8589934592 bytes, more than 65536" in said(tmp_path / "x.tar")


def test_damaged_bytes_are_one_line_or_members(tmp_path):
    """Whatever byte is another: no crash, no endless loop, no member outside its tar."""
    whole = write_tar(tmp_path / "whole.tar", [("a.jpg", b"x" * 100), (LONG, b"y")]).read_bytes()
    numbers, file = random.Random(7), tmp_path / "x.tar"
    for _ in range(300):
        damaged = bytearray(whole[:4096])
        for _ in range(numbers.randrange(1, 4)):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        file.write_bytes(damaged + bytes(1024))
        try:
            for member in members(file):
                assert 0 <= member.offset <= member.offset + member.size <= len(damaged) + 1024
        except SourceError as error:
            assert len(str(error).splitlines()) == 1


def test_headers_are_read_once_until_the_tar_changes(tmp_path, monkeypatch):
    file = write_tar(tmp_path / "x.tar", [(f"{i}.jpg", jpeg((i, 0, 0))) for i in range(5)])
    read = []
    monkeypatch.setattr("sources.tars.members", lambda tar: read.append(tar) or members(tar))
    for _ in range(3):
        for i in range(5):
            assert read_picture(file, f"{i}.jpg", MOST) == jpeg((i, 0, 0))
    assert read == [file]
    write_tar(file, [("new.jpg", b"12"), *((f"{i}.jpg", jpeg((i, 9, 0))) for i in range(5))])
    assert read_picture(file, "3.jpg", MOST) == jpeg((3, 9, 0)) and len(read) == 2
    with pytest.raises(OverflowError, match="2"):
        read_picture(file, "new.jpg", 1)


def test_bytes_that_are_no_utf8_are_found_by_the_name_that_was_told(tmp_path):
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as tar:
            info = tarfile.TarInfo("caf\xe9.jpg")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        (tmp_path / "x.tar").write_bytes(out.getvalue())
    [member] = members(tmp_path / "x.tar")
    assert member.name == "caf\udce9.jpg" and read_picture(tmp_path / "x.tar", member.name, MOST) == b"abc"


def many(file, colour: int = 0):
    """A tar of so many pictures that its index is kept as a file."""
    return write_tar(file, [(f"{i:03d}.jpg", b"%d %d" % (colour, i)) for i in range(150)])


@pytest.fixture()
def folder(tmp_path, monkeypatch):
    """The folder of indices, of this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _index.cache_clear()
    return tmp_path / f"cap2mask-tars-{os.getuid()}"


def test_headers_of_many_pictures_are_read_once_for_all_processes(tmp_path, monkeypatch, folder):
    file, read = many(tmp_path / "x.tar"), []
    monkeypatch.setattr("sources.tars.members", lambda tar: read.append(tar) or members(tar))
    for _ in range(2):
        assert [read_picture(file, f"{i:03d}.jpg", MOST) for i in (0, 149, 7)] == [b"0 0", b"0 149", b"0 7"]
        _index.cache_clear()  # as another process
    assert read == [file] and len(list(folder.iterdir())) == 1 and folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeyError):
        read_picture(file, "150.jpg", MOST)
    many(file, colour=17)
    assert read_picture(file, "007.jpg", MOST) == b"17 7" and len(read) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "no folder", "others may write"])
def test_an_index_that_is_damaged_or_anybodys_is_not_trusted(tmp_path, folder, damage):
    file = many(tmp_path / "x.tar")
    read_picture(file, "000.jpg", MOST)
    [index] = folder.iterdir()
    if damage == "no folder":
        index.unlink()
        folder.rmdir()
        folder.write_text("")
    elif damage == "others may write":
        index.write_bytes(index.read_bytes().replace(b"007.jpg", b"006.jpg"))
        folder.chmod(0o777)
    else:
        index.write_bytes(index.read_bytes()[: 1000 if damage == "cut" else 0])
    _index.cache_clear()
    assert read_picture(file, "007.jpg", MOST) == b"0 7"
