"""Files by path; and what is said of those that are nowhere."""

import pytest

from pipeline.config import checked
from pipeline.files import content_digest, file_state, find_file, find_files, missing_files
from pipeline.registry import stages
from store.blobs import Blobs, file_digest
from structures.errors import UserError


@pytest.mark.parametrize(
    "value",
    [
        "openai/clip-small",
        f"openai/clip-small@{'a' * 40}",
        "IMAGENET1K_V2",
        "IMAGENET1K_V9",
        "weights/ALBEF.pth",
        "weights/ALBEF@4M.pth",
    ],
)
def test_what_is_nowhere_is_said_with_its_usual_name_and_the_key(caches, value):
    with pytest.raises(
        UserError, match=rf"text_embedder\.weights: {value}.*usually a file of 1 GB.*config key text_embedder\.weights"
    ):
        find_file(value, "text_embedder.weights", "a file of 1 GB")


def test_every_missing_file_is_listed_once(caches, tmp_path):
    config = checked({"run": "r", "root": str(tmp_path), "ingest": {"train": {"images": "i", "captions": "c.json"}}})
    names = ["ingest", "gradcam", "embed_text", "evaluate_labels", "train_wspn", "train_detector", "nouns"]
    lines = missing_files([stages()[name] for name in names], config)
    assert [line.split(":")[0] for line in lines] == [
        "ingest.train.images", "ingest.train.captions", "vision_language.weights", "text_embedder.weights",
        "train_wspn.weights",
    ]  # fmt: skip
    (tmp_path / "ALBEF.pth").touch()
    config["vision_language"]["weights"] = str(tmp_path / "ALBEF.pth")
    [line] = missing_files([stages()["gradcam"]], config)
    assert line.startswith("vision_language.tokens") and "vocab.txt of bert-base-uncased, 232 kB" in line


def test_a_stage_finds_its_own_files_and_those_it_shares(tmp_path):
    for name in ("words.json", "albef.pth", "vocab.txt"):
        (tmp_path / name).touch()
    model = {"weights": str(tmp_path / "albef.pth"), "tokens": str(tmp_path / "vocab.txt")}
    config = checked({"run": "r", "root": "d", "vocabulary": str(tmp_path / "words.json"), "vision_language": model})
    assert find_files(stages()["categories"], config) == {"vocabulary": tmp_path / "words.json"}
    assert find_files(stages()["gradcam"], config).keys() == {"vision_language.weights", "vision_language.tokens"}
    assert find_files(stages()["select_boxes"], config) == {}


def test_a_folder_has_changed_when_a_file_in_it_has(tmp_path):
    assert file_state(tmp_path / "clip") == "absent"
    weights = tmp_path / "clip" / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("old")
    before = file_state(tmp_path / "clip")
    assert before == file_state(tmp_path / "clip")
    weights.write_text("changed")
    assert before != file_state(tmp_path / "clip")


def test_a_result_of_the_store_that_is_not_what_its_name_says_is_no_input(tmp_path):
    blobs = Blobs(tmp_path / "data")
    with blobs.draft(".safetensors") as draft:
        draft.write_bytes(b"weights")
        digest, _ = blobs.keep(draft)
    (tmp_path / "folder").mkdir()
    link, blob = tmp_path / "folder" / "all.safetensors", blobs.path(digest, ".safetensors")
    link.symlink_to(blob)
    assert content_digest(link) == content_digest(blob) == file_digest(blob) == digest
    blob.chmod(0o644)
    blob.write_bytes(b"weighty")
    for path in (link, blob, link.parent):
        with pytest.raises(UserError, match="does not hold what its name says; run `python -m store verify"):
            content_digest(path)
