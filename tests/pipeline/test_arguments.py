"""The command line of a stage: flags of parameters, and what is refused before anything is read."""

import sys

import pytest
import yaml

from pipeline.arguments import stage_arguments
from pipeline.registry import stages
from tests.conftest import MINIATURE


@pytest.fixture()
def arguments(tmp_path, monkeypatch):
    """A function from a stage's name and flags to the parsed command line."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(MINIATURE | {"shards": 2}))

    def arguments(name: str, *flags: str):
        monkeypatch.setattr(sys, "argv", [name, "--configfile", str(file), *flags])
        return stage_arguments(stages()[name])

    return arguments


def test_a_flags_value_is_read_as_what_the_schema_wants(arguments):
    flags = ("--lr", "1e-3", "--milestones", "[2, 3]", "--weights", "", "--optimizer.weight-decay", "0")
    config = arguments("train_detector", *flags).config
    section = config["train_detector"]
    assert (section["lr"], section["milestones"], section["weights"]) == (0.001, [2, 3], "")
    assert config["optimizer"]["weight_decay"] == 0


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("train_detector", ("--lr", "{"), "train_detector.lr is '{', wanted of type number"),
        ("pseudo_labels", ("--shard", "1"), "--shard 1: this stage is one job for all shards"),
        ("ingest", ("--shard", "0"), "--shard 0: this stage is one job for all shards"),
        ("gradcam", ("--shard", "all"), "--shard all: this run has the shards 0 to 1"),
        ("gradcam", ("--shard", "2"), "--shard 2: this run has the shards 0 to 1"),
        ("gradcam", ("--shard", "00"), "--shard 00: this run has the shards 0 to 1"),
        ("gradcam", ("--shard", "\u0661"), "--shard \u0661: this run has the shards 0 to 1"),
        ("gradcam", ("--shard", ""), "--shard : this run has the shards 0 to 1"),
        ("gradcam", ("--shard=-1",), "--shard -1: this run has the shards 0 to 1"),
        ("gradcam", ("--threads", "0"), "--threads 0: at least 1"),
        ("gradcam", ("--threads", "1000000"), "--threads 1000000: at most 1024"),
        ("gradcam", ("--gpus=-1",), "--gpus -1: at least 0"),
        ("gradcam", ("--into", ".."), "--into is '..', wanted name of the run, of at most 100 letters"),
        ("gradcam", ("--run=-rf",), "run is '-rf'"),
        ("gradcam", ("--into", "a" * 101), "--into is "),
        ("gradcam", ("--into", "toy\n"), "--into is 'toy\\n'"),
        ("train_detector", ("--lr", ".nan"), "train_detector.lr is nan, wanted a finite number"),
        ("train_detector", ("--steps", "9" * 5000), "train_detector.steps is "),
        ("gradcam", ("--gpus", "2"), "--gpus 2: this stage can't share its work"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments, name, flags, told):
    with pytest.raises(SystemExit) as caught:
        arguments(name, *flags)
    assert told in str(caught.value)
