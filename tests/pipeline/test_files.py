"""Files by path, by a hub's name, by torchvision's name; and what is said of those that are nowhere."""

import pytest

from pipeline.config import checked
from pipeline.files import file_parameters, find_file, missing_files
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
    assert find_file("openai/clip-small", "embed_text.weights") == snapshot


def test_torchvisions_weights_are_found_in_its_cache(caches):
    file = caches / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_file("IMAGENET1K_V1", "train_wspn.weights") == file


@pytest.mark.parametrize("value", ["openai/clip-small", "IMAGENET1K_V2", "weights/ALBEF.pth"])
def test_what_is_nowhere_is_said_with_its_usual_name_and_the_key(caches, value):
    with pytest.raises(
        UserError, match=rf"embed_text\.weights: {value}.*usually a file of 1 GB.*config key embed_text\.weights"
    ):
        find_file(value, "embed_text.weights", "a file of 1 GB")


def test_every_missing_file_is_listed_once(caches, tmp_path):
    config = checked({"run": "r", "root": str(tmp_path), "ingest": {"train": {"images": "i", "captions": "c.json"}}})
    stages = ["ingest", "gradcam", "embed_text", "train_wspn", "train_detector", "nouns"]
    told = missing_files(config, stages)
    assert len(told) == 5
    assert [line.split(":")[0] for line in told] == [
        "ingest.train.images", "ingest.train.captions", "gradcam.weights", "embed_text.weights", "train_wspn.weights",
    ]  # fmt: skip
    (tmp_path / "ALBEF.pth").touch()
    config["gradcam"]["weights"] = str(tmp_path / "ALBEF.pth")
    [told] = missing_files(config, ["gradcam"])
    assert told.startswith("gradcam.tokens") and "vocab.txt of bert-base-uncased, 232 kB" in told


def test_parameters_that_name_files_are_those_that_the_stages_declare():
    import importlib
    import pkgutil

    import stages

    for module in pkgutil.iter_modules(stages.__path__):
        stage = getattr(importlib.import_module(f"stages.{module.name}"), "STAGE", None)
        if stage is None:
            continue
        config = checked({"run": "r", "root": "x"})
        section = config.get(stage.name, {})
        filled = {name: "x" for name in section} if stage.name != "ingest" else section
        named = {name for name, _, _ in file_parameters(stage.name, filled)}
        assert named == (set(stage.files) - {"vocabulary"} if stage.name != "ingest" else named), stage.name
