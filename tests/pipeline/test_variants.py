"""Variants of a run, and what they share."""

import pytest
import yaml

from pipeline.config import ConfigError, checked
from pipeline.lineage import ancestors, parents, producing_runs, signature
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
    runs = {run["run"]: run for _, _, run in variants(config(tables=section))}
    assert set(runs) == {"mini.as_is.4", "mini.as_is.5", "mini.one_map.4"}
    assert runs["mini.one_map.4"]["gradcam"]["iterations"] == 1 and runs["mini.as_is.5"]["seed"] == 5
    assert all(run["train_detector"]["steps"] == 1 for run in runs.values())
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
    producers = producing_runs(configs)
    assert producers["one"]["ingest"] == producers["one"]["train_wspn"] == producers["one"]["train_teacher"] == "base"
    assert producers["one"]["gradcam"] == producers["one"]["segment"] == producers["one"]["train_detector"] == "one"
    assert producers["seed"]["gradcam"] == producers["seed"]["nouns"] == "base"  # nothing is drawn there
    assert producers["seed"]["train_wspn"] == producers["seed"]["train_teacher"] == "seed"
    assert producers["student"]["student_labels"] == "base" and producers["student"]["train_student"] == "student"


def test_a_stage_that_does_without_an_input_does_not_depend_on_it():
    xpm, ovis = config(student_labels={"labels": "xpm"}), config(student_labels={"labels": "ovis"})
    assert "segment" not in parents("student_labels", xpm) and "teacher_labels" not in parents("student_labels", ovis)
    other = config(student_labels={"labels": "xpm"}, segment={"side": 9})
    assert signature("train_student", xpm) == signature("train_student", other)
    assert signature("train_detector", xpm) != signature("train_detector", other)


def test_ancestors_are_what_a_goal_depends_on():
    whole = ancestors(["report", "evaluate"], config(pretrain_captions={"steps": 2}))
    assert {"ingest", "train_wspn", "pretrain_captions", "label_noise"} <= set(whole) and "pretrain_vlm" not in whole
    for stage in whole:
        assert set(parents(stage, config())) <= set(whole[: whole.index(stage)]), stage
    xpm = ancestors(["evaluate"], config(detectors=["train_teacher"], student_labels={"labels": "xpm"}))
    assert "train_teacher" in xpm and not {"gradcam", "segment", "train_detector"} & set(xpm)


def test_the_shipped_variants_fit_the_schema_and_the_layout():
    shipped = checked(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    names = {"variants": str(ROOT / "config" / "variants"), "overlay": str(ROOT / "config" / "tables_toy.yaml")}
    shipped["tables"] |= names
    runs = {variant for variant, _, overlay in variants(shipped) if checked(overlay)}
    layouts = (ROOT / "config" / name for name in ("tables.yaml", "tables_steps.yaml"))
    layout = [table for file in layouts for table in yaml.safe_load(file.read_text())]
    assert {row["variant"] for table in layout for row in table["rows"]} == runs
    assert run_name("toy", "xpm", 1) == "toy.xpm.1"
