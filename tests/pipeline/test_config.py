"""The configuration and its schema."""

import re

import pytest

from pipeline.config import ConfigError, checked, load, schema


def test_every_parameter_has_type_default_and_the_papers_values_stand():
    filled = checked({"run": "r", "root": "d", "vocabulary": "v"})
    assert filled["gradcam"]["iterations"] == 3 and filled["vision_language"]["layers"] == [8]
    assert filled["propose"]["top_k"] == 50 and filled["segment"]["network"]["steps"] == 500
    for stage, rules in schema()["properties"].items():
        for name, rule in rules.get("properties", {}).items():
            if rule.get("type") != "object":
                assert "default" in rule and ("type" in rule or "enum" in rule), f"{stage}.{name}"


def test_several_mistakes_are_all_told():
    with pytest.raises(ConfigError) as caught:
        checked({"run": "r", "root": "d", "vocabulary": "v", "shards": 0, "gradcam": {"batchh": 1}})
    assert "shards is 0" in str(caught.value) and "did you mean batch?" in str(caught.value)


@pytest.mark.parametrize("written", ["1e-3", "1E-03", "0.001"])
def test_a_number_may_have_an_exponent_without_a_point(written):
    assert checked({"run": "r", "root": "d", "train_detector": {"lr": written}})["train_detector"]["lr"] == 0.001


@pytest.mark.parametrize(
    ("section", "key", "told"),
    [
        ("train_student", "eta_steps", "there is train_student.robust.eta_steps"),
        ("train_detector", "weight_decay", "there is optimizer.weight_decay"),
        ("train_teacher", "backbone", "there is teacher_network.backbone"),
        ("evaluate_labels", "image_size", "there is vision_language.image_size"),
        ("train_detector", "step", "did you mean steps?"),
    ],
)
def test_an_unknown_key_that_another_section_has_is_looked_for_there_first(section, key, told):
    with pytest.raises(ConfigError, match=re.escape(f"unknown key {section}.{key}: {told}")):
        checked({"run": "r", "root": "d", section: {key: 1}})


def test_overlays_are_laid_over_section_by_section(tmp_path):
    (tmp_path / "one.yaml").write_text("run: r\nroot: d\ngradcam: {iterations: 2, batch: 5}\nshards: 4\n")
    (tmp_path / "two.yaml").write_text("gradcam: {iterations: 1}\n")
    config = load(tmp_path / "one.yaml", tmp_path / "two.yaml")
    assert config["gradcam"]["iterations"] == 1 and config["gradcam"]["batch"] == 5 and config["shards"] == 4
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml holds no keys"):
        load(tmp_path / "one.yaml", tmp_path / "empty.yaml")


def test_a_seed_counts_once():
    """Else a table would show the spread of a run and itself."""
    with pytest.raises(ConfigError, match=r"tables\.seeds is \[1, 2, 1\], wanted each once"):
        checked({"run": "r", "root": "d", "tables": {"seeds": [1, 2, 1]}})
