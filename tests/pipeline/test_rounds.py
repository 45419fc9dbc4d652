"""The configurations of earlier rounds."""

import pytest

from pipeline.config import ConfigError, checked
from pipeline.rounds import round_before, rounds_before
from pipeline.workflow import Workflow
from tests.conftest import MINIATURE
from tests.pipeline.test_workflow import order

THREE = MINIATURE | {"rounds": 3, "tables": {"seeds": [1]}, "earlier_rounds": {"train_detector": {"steps": 2}}}


def test_each_round_but_the_last_is_a_run_of_its_own_that_trains_the_detector_of_pseudo_labels_alone():
    second, first = rounds_before(checked(THREE))
    assert (second["run"], first["run"]) == ("mini.round2", "mini.round1")
    assert (second["rounds"], first["rounds"]) == (2, 1)
    for before in (second, first):
        assert before["detectors"] == ["train_detector"] and before["evaluate_proposals"]["generators"] == []
        assert before["train_detector"]["steps"] == 2 and before["tables"]["seeds"] == []
        assert before["gradcam"] == checked(THREE)["gradcam"]


def test_people_decide_about_the_labels_of_the_last_round_alone():
    asked = THREE | {"review": {"decisions": "reviewed.csv", "reviewer": "ann"}}
    assert checked(asked)["review"]["decisions"] == "reviewed.csv"
    for before in rounds_before(checked(asked)):
        assert before["review"]["decisions"] == "" and before["review"]["reviewer"] == "ann"


def test_one_round_has_none_before_it_and_a_wrong_key_of_earlier_ones_is_told():
    assert rounds_before(checked(MINIATURE)) == []
    with pytest.raises(ConfigError, match=r"train_detector\.stepz"):
        round_before(checked(THREE | {"earlier_rounds": {"train_detector": {"stepz": 2}}}))


def test_a_job_reads_the_round_before_where_there_is_one_and_the_whole_run_asks_for_its_scores():
    flow = Workflow(THREE | {"tables": {"seeds": []}}, order())
    scores = [f"data/runs/{run}/manifests/evaluate/all.json" for run in ("mini", "mini.round2", "mini.round1")]
    assert flow.goals(scores="evaluate") == scores

    class Wildcards:
        shard = "0"

    read = {}
    for run in ("mini", "mini.round2", "mini.round1"):
        Wildcards.run = run
        read[run] = [path for path in flow.inputs("relabel")(Wildcards) if "/train_detector/" in path]
    detector = "data/runs/{}/manifests/train_detector/all.json"
    assert read == {
        "mini": [detector.format("mini.round2")],
        "mini.round2": [detector.format("mini.round1")],
        "mini.round1": [],
    }
