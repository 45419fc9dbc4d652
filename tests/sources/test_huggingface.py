"""Data sets of the Hugging Face hub, as `datasets` writes them, as this project does, and with everything that may be wrong."""

import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from exports.huggingface import write
from sources import parquet_pictures
from sources.huggingface import read_part
from sources.images import ImageError, inspect_image, read_content, read_image
from sources.part import Fault, Missing, SourceError
from tests.exports.scenes import HEIGHT, MASKS, WIDTH, labelled, picture
from tests.sources.parquet_files import IMAGE, write_parquet
from tests.sources.tar_files import jpeg

PLAIN = {"image": IMAGE, "caption": pa.string()}


def part(**changes):
    own = {"images": "hub", "parquet": "*.parquet", "image_column": "", "caption_columns": ["caption"], "id_column": ""}
    return SimpleNamespace(**own | changes)


def rows(count: int, first: int = 0) -> list[dict]:
    """Rows with pictures that differ by their colour."""
    return [
        {"image": {"bytes": jpeg((i % 256, i // 256, 9)), "path": None}, "caption": f"cat {i}"}
        for i in range(first, first + count)
    ]


def captions(read) -> list[tuple[str, str, str]]:
    return [(row["image_id"], row["caption_id"], row["text"]) for row in read.captions if not isinstance(row, Fault)]


def test_what_was_written_is_read_back_and_read_in_place(tmp_path):
    for number, first in ((0, 0), (1, 3)):
        write_parquet(
            tmp_path / "hub" / f"train-{number:05d}-of-00002.parquet", rows(3, first), PLAIN, row_group_size=2
        )
    read = read_part(tmp_path, part())
    stems = [f"hub/train-0000{i // 3}-of-00002" for i in range(6)]
    ids = [f"{stem}/{i % 3:09d}" for i, stem in enumerate(stems)]
    assert read.images == {
        image_id: (f"{stem}.parquet#{i % 3:09d}", None, None) for i, (image_id, stem) in enumerate(zip(ids, stems))
    }
    assert captions(read) == [(image_id, image_id, f"cat {i}") for i, image_id in enumerate(ids)]
    assert read.labels == () and read.judged is None and not read.faults
    for i in (5, 0, 4, 2, 3, 1):
        path = read.images[ids[i]][0]
        width, height, digest = inspect_image((tmp_path, path, 2000))
        assert (width, height) == (40, 30) and read_content(tmp_path, path, digest) == jpeg((i, 0, 9))
        assert read_image(tmp_path, path, digest).shape == (30, 40, 3)


def test_what_datasets_wrote_is_read(tmp_path, monkeypatch):
    """Bytes, a path alone, nothing, several features of pictures, ids that are numbers, lists of captions."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    (tmp_path / "hub" / "pictures").mkdir(parents=True)
    (tmp_path / "hub" / "pictures" / "b.jpg").write_bytes(jpeg((2, 2, 2)))
    features = {name: datasets.Image() for name in ("image", "mask")} | {
        "key": datasets.Value("int64"),
        "texts": datasets.List(datasets.Value("string")),
        "title": datasets.Value("large_string"),
    }
    cells = {
        "image": [{"bytes": jpeg((1, 1, 1)), "path": "a.jpg"}, {"bytes": None, "path": "pictures/b.jpg"}, None],
        "mask": [{"bytes": jpeg((7, 7, 7)), "path": None}] * 3,
        "key": [11, 9, 10],
        "texts": [["a cat", " ", "one cat"], [], ["x"]],
        "title": ["Cat", "a dog", "none"],
    }
    data = datasets.Dataset.from_dict(cells, features=datasets.Features(features))
    monkeypatch.chdir(tmp_path / "hub")  # it looks for the files that paths name
    data.to_parquet("train-00000-of-00001.parquet")
    with pytest.raises(SourceError, match="columns of pictures image, mask: name one in ingest's image_column"):
        read_part(tmp_path, part(caption_columns=[]))
    read = read_part(tmp_path, part(image_column="image", caption_columns=["texts", "title"], id_column="key"))
    file = "hub/train-00000-of-00001.parquet"
    assert read.images == {"11": (f"{file}#000000000/image", None, None), "9": ("hub/pictures/b.jpg", None, None)}
    assert captions(read) == [
        ("11", "11/0", "a cat"),
        ("11", "11/2", "one cat"),
        ("11", "11/3", "Cat"),
        ("9", "9/0", "a dog"),
    ]
    [fault] = read.faults
    assert (fault.image_id, fault.reason) == ("10", "no_picture") and fault.detail.startswith(
        f"{tmp_path}/{file}, row 2: "
    )
    for path, _, _ in read.images.values():
        assert inspect_image((tmp_path, path, 2000))[:2] == (40, 30)
    mask = f"{file}#000000001/mask"
    assert read_content(tmp_path, mask, inspect_image((tmp_path, mask, 2000))[2]) == jpeg((7, 7, 7))


def test_what_this_project_exports_is_read_with_its_ids(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    write(folder, labelled(), pictures=True, shard_mb=1)
    read = read_part(tmp_path, part(images="export/data", caption_columns=["captions"], id_column="image_id"))
    assert list(read.images) == sorted(MASKS) and not read.faults
    for image_id, (path, _, _) in read.images.items():
        width, height, digest = inspect_image((tmp_path, path, WIDTH * HEIGHT))
        assert (width, height) == (WIDTH, HEIGHT) and read_content(tmp_path, path, digest) == picture(
            {"path": image_id}
        )
    assert {text for _, _, text in captions(read)} == {"two <cats> & a tie", "é"}


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_rows_are_found_in_any_order_and_each_is_decoded_once_in_its_own(tmp_path, monkeypatch, group):
    monkeypatch.setattr(parquet_pictures, "_KEPT", 5000)  # some pictures, fewer than a group of 1000 has
    decoded = []
    contents = parquet_pictures._contents

    def counted(*args):
        for batch in contents(*args):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(parquet_pictures, "_contents", counted)
    file = write_parquet(tmp_path / "x.parquet", rows(100), PLAIN, row_group_size=group)
    for i in range(100):
        assert parquet_pictures.read_picture(file, f"{i:09d}", 10_000) == jpeg((i, 0, 9))
    assert sum(decoded) == 100
    for i in (99, 3, 50, 50, 49, 98, 0):
        assert parquet_pictures.read_picture(file, str(i), 10_000) == jpeg((i, 0, 9))
    for name in ("100", "-1", "x", "", "0/caption"):
        with pytest.raises((KeyError, SourceError)):
            parquet_pictures.read_picture(file, name, 10_000)
    with pytest.raises(OverflowError):
        parquet_pictures.read_picture(file, "7", 100)


def test_pictures_of_a_file_that_changed_are_read_anew(tmp_path):
    file = write_parquet(tmp_path / "x.parquet", rows(2), PLAIN)
    digest = inspect_image((tmp_path, "x.parquet#000000001", 2000))[2]
    write_parquet(file, rows(2, first=5), PLAIN)
    with pytest.raises(ImageError) as error:
        read_image(tmp_path, "x.parquet#000000001", digest)
    assert error.value.reason == "changed_image" and "x.parquet#000000001 is not the picture" in str(error.value)
    file.write_bytes(file.read_bytes()[:-20])
    assert inspect_image((tmp_path, "x.parquet#000000001", 2000)).reason == "unreadable_image"
    file.unlink()
    assert inspect_image((tmp_path, "x.parquet#000000001", 2000)).reason == "missing_image"


def test_damaged_pages_are_no_traceback(tmp_path):
    """Bytes of the pages are turned; what decodes all the same is no picture, or another one."""
    file = write_parquet(tmp_path / "x.parquet", rows(40), PLAIN, row_group_size=10)
    whole = file.read_bytes()
    reasons = set()
    for place in range(4, len(whole) // 2, 997):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        for row in (0, 5, 15, 39):
            seen = inspect_image((tmp_path, f"x.parquet#{row}", 2000))
            reasons |= {seen.reason} if isinstance(seen, ImageError) else set()
    assert "unreadable_image" in reasons


def test_rows_that_cant_be_used_are_faults_by_reason(tmp_path):
    image = {"bytes": jpeg(), "path": None}
    cells = [
        ("a", image, "a cat"),
        ("a", image, "of which of both?"),
        (None, image, "no id"),
        ("", image, "empty id"),
        ("none", None, "x"),
        ("hollow", {"bytes": None, "path": None}, "x"),
        ("empty", {"bytes": b"", "path": "a.jpg"}, "x"),
        ("silent", image, "  "),
        ("still", image, None),
        ("up", {"bytes": None, "path": "../../secret.jpg"}, "x"),
        ("away", {"bytes": None, "path": "/etc/passwd"}, "x"),
        ("gone", {"bytes": None, "path": "gone.jpg"}, "x"),
    ]
    table = [dict(zip(("key", "image", "caption"), row)) for row in cells]
    file = write_parquet(tmp_path / "root" / "hub" / "x.parquet", table, PLAIN | {"key": pa.string()})
    root = tmp_path / "root"
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    read = read_part(root, part(id_column="key"))
    assert list(read.images) == ["a", "empty", "silent", "still", "up", "away", "gone"]
    rejects = [(fault.key.partition("#")[2], fault.image_id, fault.reason) for fault in read.faults]
    assert rejects == [
        ("1", "a", "repeated_id"),
        ("2", "", "bad_row"),
        ("3", "", "bad_row"),
        ("4", "none", "no_picture"),
        ("5", "hollow", "no_picture"),
    ]
    assert all(f"{file}, row {fault.key.partition('#')[2]}: " in fault.detail for fault in read.faults)
    of_captions = [row for row in read.captions if isinstance(row, Fault)]
    assert [(fault.image_id, fault.reason) for fault in of_captions] == [
        ("silent", "empty_caption"),
        ("still", "empty_caption"),
    ]
    assert [text for _, _, text in captions(read_part(root, part(id_column="key")))] == ["a cat", "x", "x", "x", "x"]
    reasons = {i: getattr(inspect_image((root, row[0], 2000)), "reason", "") for i, row in read.images.items()}
    assert reasons == {
        "a": "",
        "empty": "unknown_format",
        "silent": "",
        "still": "",
        "up": "outside_root",
        "away": "outside_root",
        "gone": "missing_image",
    }


def refused(root: Path, **changes) -> str:
    with pytest.raises(SourceError) as error:
        read_part(root, part(**changes))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_files_that_are_no_pictures_of_the_hub_are_refused_by_name(tmp_path):
    hub = tmp_path / "hub"
    hub.mkdir()
    assert "hub holds no *.parquet; set images" in refused(tmp_path)
    assert "leads out of the folder" in refused(tmp_path, parquet="../*.parquet")
    (hub / "x.parquet").write_text("words")
    assert f"{hub}/x.parquet can't be read as Parquet" in refused(tmp_path)
    (hub / "x.parquet").write_bytes(b"")
    assert "can't be read as Parquet" in refused(tmp_path)
    (hub / "x.parquet").unlink()
    os.mkfifo(hub / "x.parquet")
    assert "wanted a file" in refused(tmp_path)
    (hub / "x.parquet").unlink()
    write_parquet(
        hub / "x.parquet", [{"url": "http://x", "caption": "a"}], {"url": pa.string(), "caption": pa.string()}
    )
    said = refused(tmp_path)
    assert f"{hub}/x.parquet has no column of pictures" in said and "url, caption" in said and "cast the column" in said
    kinds = {"image": pa.struct({"bytes": pa.string()}), "other": pa.binary(), "many": pa.list_(IMAGE)}
    write_parquet(hub / "x.parquet", [], kinds, images=None)
    assert "has no column of pictures" in refused(tmp_path)
    write_parquet(hub / "x.parquet", rows(1), PLAIN, images=())
    assert "has no column of pictures" in refused(tmp_path), "its features say that it is none"
    write_parquet(hub / "x.parquet", rows(1), PLAIN, images=None)
    assert len(read_part(tmp_path, part()).images) == 1, "of another tool, without features"
    assert "the column nope is not there; pictures stand in image of image, caption" in refused(
        tmp_path, image_column="nope"
    )
    said = refused(tmp_path, caption_columns=["image"])
    assert "the column of captions image holds struct<" in said and "of caption" in said
    assert "the column of captions texts is not there" in refused(tmp_path, caption_columns=["caption", "texts"])
    assert "the column of ids key is not there" in refused(tmp_path, id_column="key")
    write_parquet(hub / "y.parquet", [], PLAIN | {"text": pa.string()})
    assert f"{hub}/x.parquet: the column of captions text is not there" in refused(tmp_path, caption_columns=["text"])
    write_parquet(hub / "x.parquet", [{"image": None, "caption": "a"}], PLAIN)
    assert "holds a picture that can be used; the first row that can't be used: " in refused(tmp_path)
    write_parquet(hub / "x.parquet", [], PLAIN)
    assert "holds a picture that can be used" in refused(tmp_path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_pictures_may_be_plain_bytes_of_a_column_that_is_named(tmp_path, kind):
    """As img2dataset writes them (output_format parquet): null where the picture could not be fetched."""
    content = [
        {"key": f"{i:03d}", "jpg": row["image"]["bytes"], "caption": row["caption"]} for i, row in enumerate(rows(5))
    ]
    content[1]["jpg"] = content[3]["jpg"] = None
    columns = {"key": pa.string(), "caption": pa.string(), "jpg": kind}
    file = write_parquet(tmp_path / "hub" / "00000.parquet", content, columns, images=None, row_group_size=2)
    assert "if jpg holds pictures' bytes, name it in ingest's image_column" in refused(tmp_path)
    read = read_part(tmp_path, part(image_column="jpg", id_column="key"))
    assert [(fault.image_id, fault.reason) for fault in read.faults] == [("001", "no_picture"), ("003", "no_picture")]
    assert all(isinstance(fault, Missing) and f"{file}, row " in fault.detail for fault in read.faults)
    assert captions(read) == [(f"{i:03d}", f"{i:03d}", f"cat {i}") for i in (0, 2, 4)]
    assert read.images["004"][0] == "hub/00000.parquet#000000004/jpg"
    for i in (4, 0, 2):
        path = read.images[f"{i:03d}"][0]
        width, height, digest = inspect_image((tmp_path, path, 2000))
        assert (width, height) == (40, 30) and read_content(tmp_path, path, digest) == jpeg((i, 0, 9))


def test_features_that_are_no_json_are_refused(tmp_path):
    schema = pa.schema(PLAIN)
    for text in ("{", '{"info": 1}', '{"info": {"features": []}}'):
        with pytest.raises(SourceError, match="its metadata `huggingface`"):
            parquet_pictures.image_column(tmp_path / "x.parquet", schema.with_metadata({"huggingface": text}))


def test_splits_are_not_taken_together_and_must_be_whole(tmp_path):
    hub = tmp_path / "hub"
    for split, number in (("train", 0), ("train", 2), ("test", 0)):
        write_parquet(hub / f"{split}-{number:05d}-of-00003.parquet", rows(1), PLAIN)
    assert "takes the splits test, train together: name one, as test-*.parquet" in refused(tmp_path)
    said = refused(tmp_path, parquet="train-*.parquet")
    assert f"{hub}/train-00001-of-00003.parquet of 3 files are not there" in said
    assert len(read_part(tmp_path, part(parquet="train-0000[02]-*.parquet")).images) == 2
    write_parquet(hub / "train-00001-of-00003.parquet", rows(1), PLAIN)
    assert len(read_part(tmp_path, part(parquet="train-*.parquet")).images) == 3


def test_a_file_outside_the_data_sets_folder_is_not_read(tmp_path):
    write_parquet(tmp_path / "elsewhere" / "x.parquet", rows(1), PLAIN)
    root = tmp_path / "root"
    (root / "hub").mkdir(parents=True)
    (root / "hub" / "x.parquet").symlink_to(tmp_path / "elsewhere" / "x.parquet")
    with pytest.raises(ImageError, match="leads out of"):
        read_part(root, part())
    for path in ("hub/x.parquet#0", "../elsewhere/x.parquet#0"):
        assert inspect_image((root, path, 2000)).reason == "outside_root"
