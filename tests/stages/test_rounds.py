"""Rounds through Snakemake: the labels of the second are of the first one's detector, and each round is a run of its own."""

import json

import pandas as pd
import pytest

from schemas.tables import TABLES
from store.manifest import Run

pytestmark = pytest.mark.xdist_group("rounds")  # one process makes the second run
ALONE = ["rounds=2", "run=second", "detectors=[train_detector]", "evaluate_proposals={generators: []}"]
SETTINGS = [*ALONE, "relabel={own_regions: true, instances: 2}"]


@pytest.fixture(scope="module")
def second(miniature):
    """The run of two rounds beside the miniature's, whose stages of the first round are remembered."""
    output = miniature.snakemake("--config", *SETTINGS)
    return miniature.folder / "data", output


def manifest(data, run: str, stage: str, part: str = "all"):
    return Run(data, run).read_manifest(stage, part)


def outputs(data, run: str, stage: str) -> dict[str, str]:
    return {output.path: output.digest for output in manifest(data, run, stage).outputs}


def test_the_first_round_is_the_run_that_has_no_other(second):
    data, _ = second
    assert outputs(data, "second.round1", "train_detector") == outputs(data, "mini", "train_detector")
    assert outputs(data, "second", "train_detector") != outputs(data, "mini", "train_detector")
    assert not manifest(data, "second.round1", "relabel", "0")


def test_labels_are_of_named_nouns_alone_and_lie_where_their_masks_do(second):
    data, _ = second
    labels = pd.read_parquet(data / "runs/second/round_masks")
    assert list(labels.columns) == TABLES["round_masks"].schema.names
    named = pd.read_parquet(data / "runs/second/nouns")[["image_id", "category"]].drop_duplicates()
    assert len(labels) and len(labels.merge(named)) == len(labels)
    assert labels.groupby(["image_id", "category"]).instance.apply(lambda i: sorted(i) == list(range(len(i)))).all()
    assert labels.score.between(0, 1).all() and labels.coverage.between(0, 1).all() and (labels.area > 0).all()
    first = labels[labels.instance == 0].set_index(["image_id", "category"]).score
    further = labels[labels.instance > 0].set_index(["image_id", "category"]).score
    assert (further <= first.reindex(further.index)).all()


def test_the_second_detector_learns_from_them(second):
    data, _ = second
    labels = pd.read_parquet(data / "runs/second/round_masks")
    taught = json.loads((data / "runs/second/pseudo_labels/all.json").read_text())
    names = {row["id"]: row["name"] for row in taught["categories"]}
    large = labels[labels.area >= 16]
    assert sorted(names[row["category_id"]] for row in taught["annotations"]) == sorted(large.category)
    read = {row["artifact"] for row in manifest(data, "second", "train_detector").inputs}
    assert "kept_labels" in read


def test_each_round_has_scores(second):
    data, _ = second
    for run, protocols in (("second", {"pseudo_labels", "round_labels"}), ("second.round1", {"pseudo_labels"})):
        found = set(pd.read_parquet(data / "runs" / run / "metrics").protocol)
        assert found & {"pseudo_labels", "round_labels"} == protocols and "generalized" in found


def test_another_choice_of_labels_leaves_the_first_round_alone(miniature, second):
    plan = miniature.snakemake("-n", "--config", *ALONE, "relabel={own_regions: true, activation_weight: 1}")
    jobs = {line.split()[0] for line in plan.split("Job stats:")[1].splitlines()[3:] if line.strip()}
    assert {"relabel", "pseudo_labels", "train_detector"} <= jobs
    assert not jobs & {"gradcam", "segment", "select_boxes", "nouns"}


def test_every_round_may_be_configured_for_itself(miniature, second):
    plan = miniature.snakemake("-n", "--config", *SETTINGS, "earlier_rounds={train_detector: {steps: 3}}")
    assert "data/runs/second.round1/manifests/train_detector/all.json" in plan
    wrong = miniature.snakemake("-n", "--config", *SETTINGS, "earlier_rounds={train_detector: {stepz: 3}}", check=False)
    assert "stepz" in wrong and "Traceback" not in wrong


def test_to_stop_behind_a_stage_of_every_round_names_the_one_that_can_be_meant(miniature):
    plan = miniature.snakemake("-n", "--config", *SETTINGS, "--until", "train_detector", check=False)
    assert "snakemake --cores all data/runs/second/manifests/train_detector/all.json" in plan
    assert "data/runs/second/manifests/segment/0.json" in miniature.snakemake(
        "-n", "--config", *ALONE[:2], "--until", "segment", "-F"
    )


def test_a_first_round_has_nothing_to_go_by(miniature):
    by_hand = miniature.stage("relabel", "--run", "mini", check=False)
    asked = miniature.snakemake("data/runs/mini/manifests/relabel/0.json", check=False)
    for output in (by_hand, asked):
        assert "the first round has none before it" in output
        assert "Traceback" not in output or "UserError" in output, (
            "Snakemake shows the log, with the traceback kept there"
        )


MEASURED = "pseudo_labels={measures: [score, agreement, margin, detector, detector_iou], worst: 0.3}"


def test_confidence_is_made_of_what_is_measured_and_the_worst_are_left_out(miniature, second):
    data, _ = second
    miniature.snakemake(
        "--config",
        *SETTINGS,
        MEASURED,
        "run=judged",
        "train_detector={label_weight: confidence}",
        "label_quality={score_threshold: 0.0}",
    )
    run = data / "runs/judged"
    labels, measured = pd.read_parquet(run / "round_masks"), pd.read_parquet(run / "label_quality")
    key = ["image_id", "category", "instance"]
    assert len(measured) == len(labels) == len(labels.merge(measured, on=key))
    assert measured.margin.between(-1, 1).all() and measured.detector_iou.max() > 0
    assert (measured.detector <= measured.detector_iou).all() and measured.stability.between(0, 1).all()
    assert (measured.mirrored == -1).all(), "the miniature looks at no mirror images"
    large = labels[labels.area >= 16].merge(measured, on=key)
    ranks = [large[name].rank() for name in ("score", "agreement", "margin", "detector", "detector_iou")]
    large["expected"] = sum(ranks).rank(pct=True)
    kept = pd.read_parquet(run / "kept_labels").merge(large, on=key)
    assert (kept.confidence - kept.expected).abs().max() < 1e-6
    assert set(map(tuple, kept[key].values)) == set(
        map(tuple, large[large.expected.rank(pct=True, method="max") > 0.3][key].values)
    )
    rejects = pd.read_parquet(run / "pseudo_labels/_rejects")
    assert (rejects.reason == "low_confidence").sum() == len(large) - len(kept) > 0
    assert not rejects[rejects.reason == "low_confidence"].counted.any()
    metrics = pd.read_parquet(run / "metrics")
    [correlation] = metrics[(metrics.protocol == "kept_labels") & (metrics.group == "all")].value
    assert -1 <= correlation <= 1 and correlation != 0
    first_round = pd.read_parquet(data / "runs/judged.round1/label_quality")
    assert len(first_round) and (first_round.detector == 0).all() and first_round.margin.nunique() > 1
    assert outputs(data, "judged", "train_detector") != outputs(data, "second", "train_detector")
    asked = ("-n", "--config", *SETTINGS, MEASURED, "run=judged", "--until", "label_quality")
    assert "name its result: snakemake" in miniature.snakemake(*asked, check=False)


def test_labels_of_too_little_confidence_are_left_out(miniature, second):
    data, _ = second
    miniature.stage("pseudo_labels", "--min-quality", "0.4", "--into", "sure")
    kept, all_of_them = (pd.read_parquet(data / "runs" / run / "kept_labels") for run in ("sure", "mini"))
    assert 0 < len(kept) < len(all_of_them) and kept.confidence.min() >= 0.4
    assert set(kept.confidence) == set(all_of_them[all_of_them.confidence >= 0.4].confidence)
    rejects = pd.read_parquet(data / "runs/sure/pseudo_labels/_rejects")
    assert (rejects.reason == "low_confidence").sum() == len(all_of_them) - len(kept)


def test_labels_that_tie_are_left_out_together_or_not_at_all(miniature, second):
    """Before the second round all have the same measures of the detector, and none is made of them."""
    data, _ = second
    measures = ("--measures", "[detector, detector_iou]", "--worst")
    miniature.stage("pseudo_labels", *measures, "0.6", "--into", "tied")
    kept, all_of_them = (pd.read_parquet(data / "runs" / run / "kept_labels") for run in ("tied", "mini"))
    assert len(kept) == len(all_of_them) and kept.confidence.nunique() == 1
