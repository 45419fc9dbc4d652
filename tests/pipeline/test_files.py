"""Files by path, by a hub's name, by torchvision's name; and what is said of those that are nowhere."""

import pytest

from pipeline.config import checked
from pipeline.files import file_state, find_file, find_files, missing_files
from pipeline.registry import stages
from structures.errors import UserError


@pytest.fixture()
def caches(tmp_path, monkeypatch):
    """Empty caches of the hub and of torchvision, offline."""
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def test_a_hub_model_is_found_in_its_cache(caches):
    snapshot = caches / "hub" / "models--openai--clip-small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("abc")
    assert find_file("openai/clip-small", "text_embedder.weights") == snapshot


def test_torchvisions_weights_are_found_in_its_cache(caches):
    file = caches / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_file("IMAGENET1K_V1", "train_wspn.weights") == file


@pytest.mark.parametrize("value", ["openai/clip-small", "IMAGENET1K_V2", "IMAGENET1K_V9", "weights/ALBEF.pth"])
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
