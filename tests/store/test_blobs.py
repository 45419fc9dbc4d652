"""Blobs: immutable, whole, checked."""

import pytest

from store.blobs import Blobs, file_digest


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
