"""What the Snakefile asks for, and what a declaration that fits nothing is told."""

import json
import os
from dataclasses import replace

import pytest

from pipeline.arguments import CONFIG_VARIABLE
from pipeline.config import ConfigError
from pipeline.registry import stages
from pipeline.workflow import Workflow
from store.fingerprint import ROOT
from tests.conftest import MINIATURE


def order() -> dict[str, str]:
    """The Snakefile's table of stages."""
    tables = (ROOT / "Snakefile").read_text().split("\nDATA_SET", 1)[1].split("\nORDER", 1)[0]
    namespace: dict = {}
    exec(f"DATA_SET{tables}", namespace)
    return {stage: edges for name, table in namespace.items() if name.isupper() for stage, edges in table.items()}


def test_a_whole_run_asks_for_scores_where_there_is_ground_truth():
    manifests = "data/runs/mini/manifests"
    both = [f"{manifests}/report/all.json", f"{manifests}/evaluate/all.json"]
    assert Workflow(MINIATURE, order()).goals("report", scores="evaluate", exports="export") == both
    no_truth = MINIATURE | {"ingest": {"train": MINIATURE["ingest"]["train"]}}
    assert Workflow(no_truth, order()).goals("report", scores="evaluate", exports="export") == both[:1]


def test_a_stage_of_shards_or_detectors_is_asked_for_whole():
    flow = Workflow(MINIATURE | {"shards": 2, "detectors": ["train_detector", "train_teacher"]}, order())
    assert flow.of_this_run("segment") == [f"data/runs/mini/manifests/segment/{shard}.json" for shard in (0, 1)]
    detectors = ("train_detector", "train_teacher")
    assert flow.of_this_run("detect") == [f"data/runs/mini/manifests/detect/{name}.json" for name in detectors]


def test_a_changed_file_of_the_configuration_is_written_again(tmp_path, monkeypatch):
    """By whoever it was changed: stages would take it for the configuration."""
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    flow = Workflow(MINIATURE, order(), data=str(tmp_path))
    flow.export()
    [file] = (tmp_path / "configs").glob("*/mini.json")
    whole, status = file.read_text(), file.stat()
    assert json.loads(whole)["gradcam"]["score"] == "mlm" and os.environ[CONFIG_VARIABLE] == str(file.parent)
    flow.export()
    assert file.stat().st_mtime_ns == status.st_mtime_ns, "what is right is left alone"
    for other in (whole.replace("mlm", "itm"), whole[:100], ""):
        file.write_text(other)
        flow.export()
        assert file.read_text() == whole
    monkeypatch.undo()


def test_a_key_that_stands_twice_in_a_configfile_is_told(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"c\.yaml, line 2: the key seed"):
        Workflow(MINIATURE, order(), files=[str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nouns": None}, r"has no line for stages/nouns\.py"),
        ({"verbs": "ingest"}, r"a line for verbs, but there is no stage in stages/verbs\.py"),
        ({"nouns": "ingest"}, r"nouns reads 'ingest', but stages/nouns\.py declares 'categories ingest'"),
    ],
)
def test_a_snakefile_that_says_other_than_the_declarations_is_told_where(changes, message):
    changed = {name: edges for name, edges in (order() | changes).items() if edges is not None}
    with pytest.raises(ValueError, match=message):
        Workflow(MINIATURE, changed)


def test_a_stage_stands_behind_what_it_reads():
    first = {"nouns": order()["nouns"]} | order()
    with pytest.raises(ValueError, match="nouns stands before categories, ingest"):
        Workflow(MINIATURE, first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "noun"}, r"stages/nouns\.py: .*'noun'.* the name of its script"),
        ({"reads": ("images", "verbs")}, "reads verbs; neither a table"),
        ({"writes": ("nouns", "verbs")}, r"writes nouns, verbs; schemas/tables\.py says that it writes nouns"),
    ],
)
def test_a_declaration_that_fits_nothing_is_told_what(monkeypatch, changes, message):
    monkeypatch.setattr("stages.nouns.STAGE", replace(stages()["nouns"], **changes))
    with pytest.raises(ValueError, match=message):
        stages.__wrapped__()
