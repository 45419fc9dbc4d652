"""Variants of a run, and what they share."""

import pytest
import yaml

from pipeline.config import ConfigError, checked
from pipeline.lineage import declaration, homes, parents, signature, stage_names
from pipeline.variants import overlaid, run_name, variants
from store.fingerprint import ROOT
from tests.conftest import MINIATURE


def config(**changed):
    return checked(overlaid(MINIATURE, changed))


def test_an_overlay_changes_what_it_names_and_nothing_else():
    one = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert overlaid(one, {"a": {"b": 5}}) == {"a": {"b": 5, "c": [1]}, "d": 2} and one["a"]["b"] == 1


def test_variants_are_files_times_seeds(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "one_map.yaml").write_text("seeds: 1\ngradcam: {iterations: 1}\n")
    (tmp_path / "v" / "as_is.yaml").write_text("# nothing changed\n")
    (tmp_path / "short.yaml").write_text("train_detector: {steps: 1}\n")
    section = {"seeds": [4, 5], "variants": str(tmp_path / "v"), "overlay": str(tmp_path / "short.yaml")}
    found = {its["run"]: its for _, _, its in variants(config(tables=section))}
    assert set(found) == {"mini.as_is.4", "mini.as_is.5", "mini.one_map.4"}
    assert found["mini.one_map.4"]["gradcam"]["iterations"] == 1 and found["mini.as_is.5"]["seed"] == 5
    assert all(its["train_detector"]["steps"] == 1 for its in found.values())
    (tmp_path / "v" / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml is no YAML"):
        list(variants(config(tables=section)))
    assert not list(variants(config(tables=section | {"variants": str(tmp_path / "none")})))


def test_runs_share_what_is_configured_alike():
    configs = {
        "base": config(),
        "one": config(gradcam={"iterations": 1}),
        "seed": config(seed=9),
        "student": config(train_student={"strategy": "none"}),
    }
    made = homes(configs, stage_names())
    assert made["one"]["ingest"] == made["one"]["train_wspn"] == made["one"]["train_teacher"] == "base"
    assert made["one"]["gradcam"] == made["one"]["segment"] == made["one"]["train_detector"] == "one"
    assert made["seed"]["gradcam"] == made["seed"]["nouns"] == "base"  # nothing is drawn there
    assert made["seed"]["train_wspn"] == made["seed"]["train_teacher"] == "seed"
    assert made["student"]["student_labels"] == "base" and made["student"]["train_student"] == "student"


def test_a_stage_that_does_without_an_input_does_not_depend_on_it():
    xpm, ovis = config(student_labels={"labels": "xpm"}), config(student_labels={"labels": "ovis"})
    assert "segment" not in parents("student_labels", xpm) and "teacher_labels" not in parents("student_labels", ovis)
    other = config(student_labels={"labels": "xpm"}, segment={"steps": 9})
    assert signature("train_student", xpm) == signature("train_student", other)
    assert signature("train_detector", xpm) != signature("train_detector", other)


def test_every_stage_says_what_it_reads():
    assert set(stage_names()) >= {"ingest", "train_student", "report"}
    assert declaration("teacher_labels")["per"] == "shard" and declaration("train_student")["random"]
    with pytest.raises(ValueError, match="declares no Stage"):
        declaration("predict")


def test_the_shipped_variants_fit_the_schema_and_the_layout():
    shipped = checked(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    names = {"variants": str(ROOT / "config" / "variants"), "overlay": str(ROOT / "config" / "tables_toy.yaml")}
    shipped["tables"] |= names
    runs = {variant for variant, _, its in variants(shipped) if checked(its)}
    layout = yaml.safe_load((ROOT / "config" / "tables.yaml").read_text())
    assert {row["variant"] for table in layout for row in table["rows"]} == runs
    assert run_name("toy", "xpm", 1) == "toy.xpm.1"
