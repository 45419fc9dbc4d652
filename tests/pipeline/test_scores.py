"""A run's scores as people read them."""

import pandas as pd
import pytest

from pipeline import scores
from structures.errors import UserError

LABELS = [
    ("", "grounding", "run", "all", "pointing", 0.8),
    ("", "grounding", "run", "all", "pointing_chance", 0.1),
    ("", "grounding", "G=1", "all", "coverage", 0.2),
    ("", "grounding", "G=3", "all", "coverage", 0.4),
    ("", "pseudo_labels", "segm", "novel", "AP50", 30.04),
    ("", "kept_labels", "confidence", "all", "rank_correlation", 0.6214),
    ("", "kept_labels", "confidence", "novel", "rank_correlation", 0.5),
]
STUDENT = [
    ("train_teacher", "generalized", "segm", "novel", "AP50", 13.8),
    ("train_student", "generalized", "segm", "novel", "AP50", 26.0),
]


def run_with(folder, rows):
    (folder / "metrics").mkdir()
    columns = ["detector", "protocol", "kind", "group", "metric", "value"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "metrics" / "all.parquet")
    return folder


def test_labels_and_detectors_have_their_lines(tmp_path):
    lines = {measure: value for measure, value, _ in scores.rows(run_with(tmp_path, LABELS + STUDENT))}
    assert lines["pointing, the run's score"] == "0.800 (chance 0.100)"
    assert lines["share of the object covered, G=3 against G=1"] == "0.400 against 0.200"
    assert lines["pseudo-labels' own novel mask AP50"] == "30.0"
    assert lines["rank correlation of the labels' confidence with the true IoU"] == "0.621; novel 0.500"
    assert lines["detector, novel mask AP50, generalized"] == "teacher 13.8; student 26.0"


def test_labels_of_rounds_have_lines_of_their_own(tmp_path):
    rows = [
        ("", protocol, kind, group, metric, value)
        for protocol, value in (("pseudo_labels", 0.5), ("round_labels", 0.75))
        for kind, metric in (("box", "recall50"), ("mask", "share50"), ("instances", "recall50"))
        for group in ("all", "novel")
    ] + [("", "round_labels", "mask", "all", "iou", 0.6)]
    lines = {measure: value for measure, value, _ in scores.rows(run_with(tmp_path, rows))}
    assert lines["chosen boxes with IoU 0.5, first round"] == "0.500; novel 0.500"
    assert lines["pseudo-masks with IoU 0.5, last round"] == "0.750; novel 0.750"
    assert lines["pseudo-masks' mean IoU, last round"] == "0.600" and len(lines) == 7


def test_who_finds_the_objects_of_each_novel_category_has_its_lines(tmp_path):
    recall = {"rpn": 0.25, "wspn": 0.5}
    places = [("val_proposals", "novel"), ("val_proposals", "all"), ("val_proposals_novel", "traffic light")]
    proposals = [("", *place[:1], kind, *place[1:], "recall50", v) for place in places for kind, v in recall.items()]
    lines = {measure: value for measure, value, _ in scores.rows(run_with(tmp_path, proposals + STUDENT))}
    for name in ("novel", "traffic light"):
        assert lines[f"recall at IoU 0.5 of 50 boxes, validation, {name}"] == "RPN 0.250; WSPN 0.500"


def test_a_run_of_the_student_alone_has_no_line_of_what_it_did_not_measure(tmp_path, capsys):
    run = run_with(tmp_path, STUDENT)
    assert [measure for measure, *_ in scores.rows(run)] == ["detector, novel mask AP50, generalized"]
    scores.show(run)
    assert "student 26.0" in capsys.readouterr().out


def test_costs_count_every_stage_of_the_run_and_not_the_shipped_weights(tmp_path):
    for stage, seconds, memory in (
        ("pretrain_captions", 60, "2048"),
        ("pretrain_vlm", 6000, "-"),
        ("gradcam", 120, "-"),
    ):
        (tmp_path / "benchmarks" / stage).mkdir(parents=True)
        (tmp_path / "benchmarks" / stage / "all.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t{memory}\n")
    (_, minutes, _), (_, gib, _) = scores.costs(tmp_path)
    assert float(minutes) == 3.0 and float(gib) == 2.0


def test_a_run_without_scores_is_told_so(tmp_path):
    with pytest.raises(UserError, match="metrics is not there"):
        scores.rows(tmp_path)
