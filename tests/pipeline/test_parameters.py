"""Parameters of what is chosen, and of nothing else."""

from dataclasses import replace

import pytest

from pipeline.config import checked, schema
from pipeline.lineage import signature
from pipeline.parameters import chosen, code_fingerprint, draws_random_numbers, params_in_key
from pipeline.registry import stages
from pipeline.variants import overlaid
from schemas.tables import TABLES
from tests.conftest import MINIATURE


def config(**changes):
    return checked(overlaid(MINIATURE, changes))


def test_sub_sections_of_other_methods_are_left_out_at_every_depth():
    method = {"enum": ["one", "two"]}
    inner = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "a": {"type": "object"}, "b": {"type": "object"}},
    }
    rules = {"properties": {"method": method, "one": inner, "two": {"type": "object"}, "other": {"type": "object"}}}
    section = {"method": "one", "one": {"kind": "b", "a": {"x": 1}, "b": {"x": 2}}, "two": {"y": 1}, "other": {"z": 1}}
    assert chosen(section, rules) == {"method": "one", "one": {"kind": "b", "b": {"x": 2}}, "other": {"z": 1}}


@pytest.mark.parametrize(
    ("stage", "method", "irrelevant", "relevant"),
    [
        ("segment", {"method": "grabcut"}, {"network": {"lr": 0.1}}, {"grabcut": {"rounds": 3}}),
        ("segment", {"method": "network"}, {"grabcut": {"rounds": 3}}, {"network": {"lr": 0.1}}),
        ("train_student", {"strategy": "none"}, {"robust": {"eta": 0.7}}, {"balanced": True}),
        ("propose", {"by": "selective_search"}, {"wspn": {"nms": 0.1}}, {"top_k": 3}),
        ("student_labels", {"labels": "ovis"}, {"both": {"agree_weight": 9}}, {"corrupted_fraction": 0.1}),
        ("selective_search", {"mode": "fast"}, {"quick": {"base_k": 7}}, {"fast": {"base_k": 7}}),
    ],
)
def test_only_parameters_of_the_chosen_method_enter_the_key(stage, method, irrelevant, relevant):
    declaration = stages()[stage]

    def key(*changes):
        return params_in_key(declaration, config(**{stage: overlaid(method, *changes)}))

    assert key() == key(irrelevant) and key() != key(relevant)
    assert signature(stage, config(**{stage: method})) == signature(stage, config(**{stage: method | irrelevant}))


def test_the_seed_counts_only_where_the_chosen_method_draws():
    def draws(stage, **section):
        return draws_random_numbers(stages()[stage], config(**{stage: section}))

    assert draws("segment", method="network") and not draws("segment", method="grabcut")
    assert draws("selective_search", mode="quick") and not draws("selective_search", mode="package")
    assert draws("student_labels", corrupted_fraction=0.5) and not draws("student_labels", corrupted_fraction=0)
    assert draws("train_wspn") and not draws("gradcam")


def test_what_changes_no_result_is_in_no_key():
    stage = stages()["train_detector"]
    changed = config(training={"workers": 3, "save_every": 7})
    assert params_in_key(stage, changed) == params_in_key(stage, config())
    assert params_in_key(stage, config(training={"precision": "bf16"})) != params_in_key(stage, config())


def test_a_shared_section_counts_for_those_that_share_it_alone():
    changed = config(vision_language={"image_size": 120}, optimizer={"weight_decay": 0.5})
    differ = {
        name for name, stage in stages().items() if params_in_key(stage, changed) != params_in_key(stage, config())
    }
    trainings = {"train_wspn", "train_detector", "finetune_detector"}
    trainings |= {"pretrain_captions", "train_teacher", "train_student"}
    assert differ == {"gradcam", "evaluate_labels"} | trainings


def test_a_table_counts_for_those_that_read_or_write_it_alone(monkeypatch):
    def prints():
        return {name: code_fingerprint(stage, config()) for name, stage in stages().items()}

    before = prints()
    monkeypatch.setitem(TABLES, "of_another_stage", TABLES["category_counts"])
    assert prints() == before
    monkeypatch.setitem(TABLES, "gradcam", replace(TABLES["gradcam"], row_group=7))
    readers = {name for name, stage in stages().items() if "gradcam" in stage.artifacts}
    assert {name for name, code in prints().items() if code != before[name]} == {"gradcam"} | readers


def test_a_column_s_comment_counts_to_its_end_for_it_is_written(monkeypatch):
    stage = stages()["gradcam"]
    before = code_fingerprint(stage, config())
    table = TABLES["gradcam"]
    index = table.schema.get_field_index("maps")
    comment = table.schema.field("maps").metadata[b"comment"].decode()
    changed = table.schema.field("maps").with_metadata({"comment": comment[:-1] + "?"})
    monkeypatch.setitem(TABLES, "gradcam", replace(table, schema=table.schema.set(index, changed)))
    assert code_fingerprint(stage, config()) != before


def test_every_section_of_the_schema_belongs_to_a_stage_or_is_shared():
    shared = {name.split(".")[0] for stage in stages().values() for name in (*stage.shares, *stage.records)}
    sections = {name for name, rules in schema()["properties"].items() if rules.get("type") == "object"}
    assert sections - {"cache", "tables", "toy", "producing_runs", "earlier_rounds"} <= stages().keys() | shared
