"""Blobs: immutable, whole, checked."""

from pathlib import Path

import pytest

from store.blobs import Blobs, check_content, file_digest
from structures.errors import UserError


def test_a_blob_is_named_by_its_content_and_cannot_be_written(tmp_path):
    blobs = Blobs(tmp_path)
    with blobs.draft(".json") as draft:
        draft.write_text("hello")
        digest, size = blobs.keep(draft)
    path = blobs.path(digest, ".json")
    assert path.read_text() == "hello" and file_digest(path) == digest and size == 5
    assert path.stat().st_mode & 0o777 == 0o444
    assert not list((tmp_path / "store" / "drafts").iterdir())


def test_a_draft_that_fails_leaves_nothing(tmp_path):
    blobs = Blobs(tmp_path)
    with pytest.raises(RuntimeError), blobs.draft(".json") as draft:
        draft.write_text("half")
        raise RuntimeError
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def broken(blobs: Blobs, text: str, other: str) -> Path:
    """A blob of a text, of which the disk has made another of the same length."""
    with blobs.draft(".json") as draft:
        draft.write_text(text)
        digest, _ = blobs.keep(draft)
    path = blobs.path(digest, ".json")
    path.chmod(0o644)
    path.write_text(other)
    return path


def test_a_truncated_blob_is_noticed(tmp_path):
    blobs = Blobs(tmp_path)
    with blobs.draft(".json") as draft:
        draft.write_text("hello")
        digest, size = blobs.keep(draft)
    path = blobs.path(digest, ".json")
    path.chmod(0o644)
    path.write_text("jello")
    assert blobs.check(digest, ".json", size, whole=False) == path
    with pytest.raises(Exception, match="does not hold"):
        blobs.check(digest, ".json", size, whole=True)
    path.write_text("hell")
    with pytest.raises(Exception, match="cut short"):
        blobs.check(digest, ".json", size, whole=False)


def test_a_broken_blob_of_the_right_size_is_replaced(tmp_path):
    blobs = Blobs(tmp_path)
    path = broken(blobs, "hello", "jello")
    with blobs.draft(".json") as draft:
        draft.write_text("hello")
        blobs.keep(draft)
    assert path.read_text() == "hello"


def test_a_broken_result_is_found_through_its_link_and_other_files_are_left_alone(tmp_path):
    blobs, link, other = Blobs(tmp_path), tmp_path / "runs" / "r" / "x.json", tmp_path / "other.json"
    path = broken(blobs, "hello", "jello")
    blobs.link(path.stem, link)
    with pytest.raises(UserError, match=r"x\.json does not hold what its name says"):
        check_content(link)
    other.write_text("anything")
    check_content(other)
    path.write_text("hello")
    check_content(link)


def test_a_folder_in_the_way_of_a_link_is_said_and_left(tmp_path):
    folder = tmp_path / "runs" / "x.json"
    (folder / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"x\.json is a folder, in the way"):
        Blobs(tmp_path).link("0" * 64, folder)
    assert (folder / "mine").is_dir() and [file.name for file in folder.parent.iterdir()] == ["x.json"]


def test_a_folder_in_the_way_of_a_blob_is_said_and_left(tmp_path):
    blobs = Blobs(tmp_path)
    path = broken(blobs, "hello", "hello")
    path.unlink()
    (path / "mine").mkdir(parents=True)
    with blobs.draft(".json") as draft, pytest.raises(UserError, match=r"is a folder, in the way of a result"):
        draft.write_text("hello")
        blobs.keep(draft)
    assert (path / "mine").is_dir()


@pytest.mark.parametrize("moved", ["runs", "store"])
def test_a_part_of_the_data_folder_may_be_a_link_to_another_disk(tmp_path, moved):
    data = tmp_path / "data"
    elsewhere = tmp_path / "disk" / "of" / "mine"
    elsewhere.mkdir(parents=True)
    data.mkdir()
    (data / moved).symlink_to(elsewhere)
    blobs, link = Blobs(data), data / "runs" / "r" / "x.json"
    path = broken(blobs, "hello", "jello")
    blobs.link(path.stem, link)
    assert link.read_text() == "jello"
    with pytest.raises(UserError, match=r"x\.json does not hold what its name says"):
        check_content(link)
