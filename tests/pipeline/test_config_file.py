"""Files of the configuration, read strictly, and what no configuration can hold."""

import json
import re

import pytest

from pipeline.config import ConfigError, checked, load
from pipeline.config_file import read_yaml
from pipeline.paper_tables import read_layout
from pipeline.variants import variants
from structures.errors import UserError

NEEDED = {"run": "r", "root": "d"}
NEEDED_TEXT = "run: r\nroot: d\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "c.yaml",
            NEEDED_TEXT + "gradcam: {batch: 2}\nseed: 3\ngradcam: {batch: 4}\n",
            "line 5: the key gradcam.*line 3",
        ),
        (
            "c.yaml",
            NEEDED_TEXT + "gradcam:\n  batch: 2\n  threshold: 0.5\n  batch: 3\n",
            "line 6: the key batch.*line 4",
        ),
        ("c.json", '{"run": "r", "root": "d", "run": "s"}', "the key 'run' stands twice in one object"),
        ("c.yaml", NEEDED_TEXT + "seed: " + "9" * 5000, "is no YAML: Exceeds the limit"),
        ("c.yaml", NEEDED_TEXT + "seed: 2026-13-45", "is no YAML: month must be"),
        ("c.yaml", NEEDED_TEXT + "vocabulary: '\udcff'", "is no YAML: .*utf-8"),
        ("c.yaml", NEEDED_TEXT + "seed: " + "[" * 200_000, "line 3: nested more than 32 deep"),
        ("c.json", '{"run": "r"', "is no JSON"),
        ("c.yaml", "- run\n", "holds no keys"),
    ],
)
def test_a_file_that_is_not_what_it_seems_is_named_in_one_line(tmp_path, name, text, told):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_one_key_in_two_sections_and_two_files_is_no_repetition(tmp_path):
    (tmp_path / "one.yaml").write_text(NEEDED_TEXT + "gradcam: &b {batch: 2}\nlabel_noise: {<<: *b}\n")
    (tmp_path / "two.yaml").write_text("seed: 7\n")
    config = load(tmp_path / "one.yaml", tmp_path / "two.yaml")
    assert config["gradcam"]["batch"] == config["label_noise"]["batch"] == 2 and config["seed"] == 7


@pytest.mark.parametrize("text", ["dragon 🐉 fruit", "Füße", "猫", "a\u200db", "\x7f \x85 \ufffe"])
def test_any_text_comes_through_the_file_that_stages_read(tmp_path, text):
    """Written as Workflow.export writes it."""
    config = checked(NEEDED | {"embed_text": {"names": [text]}})
    (tmp_path / "r.json").write_text(json.dumps(config, sort_keys=True, indent=1) + "\n")
    assert load(tmp_path / "r.json")["embed_text"]["names"] == [text]


CYCLE: dict = {}
CYCLE["gradcam"] = CYCLE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train_detector": {"lr": float("nan")}}, "train_detector.lr is nan, wanted a finite number"),
        ({"train_detector": {"lr": ".inf"}}, "train_detector.lr is inf, wanted a finite number"),
        ({"train_detector": {"lr": "1e999"}}, "train_detector.lr is inf, wanted a finite number"),
        ({"train_detector": {"milestones": [1, float("inf")]}}, "train_detector.milestones is inf"),
        ({"seed": 10**30}, "seed is a number of"),
        ({"vocabulary": "\ud83d"}, "vocabulary is '\\ud83d', which is no Unicode"),
        ({"vocabulary": "a\0b"}, "vocabulary is 'a\\x00b', with a NUL in it"),
        ({"\0": 1}, "a key is '\\x00'"),
        ({1: 2, "z": 3}, "unknown key 1"),
        (CYCLE, "nested more than 32 deep"),
        ({"run": ".."}, "run is '..', wanted like"),
        ({"run": "."}, "run is '.', wanted like"),
        ({"run": "-rf"}, "run is '-rf', wanted like"),
        ({"run": "toy\n"}, "run is 'toy\\n', wanted like"),
        ({"run": "a/b"}, "run is 'a/b', wanted like"),
        ({"run": "r" * 101}, "wanted of a length of at most 100"),
        ({"run": "🐉"}, "wanted like"),
        ({"run": ""}, "run is '', wanted like"),
        ({"root": "a{b}"}, "root is 'a{b}', wanted like"),
        ({"root": "a\n"}, "root is 'a\\n', wanted like"),
        ({"producing_runs": {"ingest": "../x"}}, "producing_runs.ingest is '../x', wanted like"),
        ({"shards": 10**9}, "shards is 1000000000, wanted at most"),
        ({"detectors": ["train_teacher"] * 2}, "wanted each once"),
    ],
)
def test_what_no_configuration_can_hold_is_told_in_one_line(changes, told):
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        checked(NEEDED | changes)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_a_whole_number_with_a_point_is_an_integer():
    steps = checked(NEEDED | {"train_detector": {"steps": 3.0}})["train_detector"]["steps"]
    assert steps == 3 and type(steps) is int


def test_a_thousand_faults_are_told_in_part():
    with pytest.raises(ConfigError) as caught:
        checked(NEEDED | {"train_detector": {"milestones": ["x"] * 1000}})
    assert str(caught.value).count("\n") < 30


@pytest.mark.parametrize("seeds", ["x", -1, 1.5, None, True, []])
def test_a_variant_says_how_many_seeds_or_is_told(tmp_path, seeds):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "one.yaml").write_text(json.dumps({"seeds": seeds}))
    with pytest.raises(ConfigError, match=r"one\.yaml: seeds is .*, wanted how many"):
        list(variants(checked(NEEDED | {"tables": {"seeds": [1], "variants": str(tmp_path / "v")}})))


@pytest.mark.parametrize(
    "text",
    [
        "- 3\n",
        "- {table: t}\n",
        "- {table: t, note: n, columns: [a], rows: []}\n",
        "- {table: t, note: n, columns: [a b c], rows: [1]}\n",
    ],
)
def test_a_layout_of_another_shape_is_told_in_one_line(tmp_path, text):
    (tmp_path / "l.yaml").write_text(text)
    with pytest.raises(UserError, match=r"l\.yaml: .* is no part of a layout"):
        read_layout(tmp_path / "l.yaml")


def test_a_row_without_a_detector_is_told(tmp_path):
    row = "{row: r, variant: v}"
    (tmp_path / "l.yaml").write_text(f"- {{table: t, note: n, columns: [generalized segm all], rows: [{row}]}}\n")
    with pytest.raises(UserError, match=r"l\.yaml: t, r: a `detector` is wanted"):
        read_layout(tmp_path / "l.yaml")


def test_a_file_that_is_not_there_says_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory; do this"):
        read_yaml(tmp_path / "none.yaml", dict, "; do this")
