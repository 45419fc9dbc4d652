"""Memory does not grow with the data set: stages that gather, on made tables, at a few thousand images and at four times as
many."""

import json
import sys
import tracemalloc
from importlib import import_module

import pytest

from benchmarks.scale_tables import MEASURED, RESULTS, command, prepare
from pipeline.arguments import stage_arguments
from pipeline.execute import execute
from pipeline.registry import stages

ROWS = (1500, 4000)  # more than a row group has, which is held
# Bytes that a stage may hold of an image. A row of a table is a thousand and more; docs/scale.md says what is held.
ALLOWED = 500
GATHERING = ("pseudo_labels", "student_labels", "evaluate", "report", "gallery")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.made_tables._FOUND", 5)  # a quarter of the detections: they take most of the time
        return {rows: prepare(GATHERING, rows, tmp_path_factory.mktemp("scale")) for rows in (60, *ROWS)}


@pytest.mark.parametrize("name", GATHERING)
def test_what_a_stage_holds_does_not_grow_with_the_images(places, name, monkeypatch):
    peaks, stage, run = [], stages()[name], import_module(f"stages.{name}").run
    for rows in (60, *ROWS):  # of the first imports
        place = places[rows]
        monkeypatch.chdir(place.folder)
        monkeypatch.setattr(sys, "argv", [*command(name, place), "--recompute"])
        args = stage_arguments(stage)
        tracemalloc.start()
        try:
            execute(stage, run, args)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    growth = (peaks[2] - peaks[1]) / (ROWS[1] - ROWS[0])
    assert growth < ALLOWED, f"{name} holds {growth:.0f} bytes of each image"


def test_the_kept_results_are_of_stages_that_there_are():
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert kept.keys() <= set(MEASURED) <= stages().keys()
    for name, row in kept.items():
        runs = row["runs"]
        assert row["growth"] == pytest.approx(runs[-1]["mib"] / runs[0]["mib"] - 1, abs=1e-3), name
        assert runs[-1]["mib"] - runs[0]["mib"] < 200 * runs[-1]["rows"] / 2**20 + 25, f"{name}: bytes an image"
