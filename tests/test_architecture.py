"""The rooms of the design: who imports whom, who may see ground truth, one list of versions."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from store.fingerprint import ROOT

SHARED = {"structures", "schemas"}
MAY_IMPORT = {
    "structures": set(),
    "schemas": set(),
    "models": {"models", *SHARED},
    "evaluation": {"evaluation", *SHARED},
    "sources": {"sources", *SHARED},
    "store": {"store", *SHARED},
    "training": {"training", "sources", *SHARED},
    "pipeline": {"pipeline", "store", "training", *SHARED},
    "stages": {"pipeline", "store", "models", "sources", "training", "evaluation", *SHARED},
}
TRUTH = {"ingest", "evaluate_labels", "evaluate", "report", "finetune_detector", "train_teacher", "train_student"}
MODULES = sorted(file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py"))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return names


def declared_reads(file: Path) -> list[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Stage":
            return next((ast.literal_eval(k.value) for k in node.keywords if k.arg == "reads"), ())
    return ()


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(file):
    ours = {name.split(".")[0] for name in imported(file)} & MAY_IMPORT.keys()
    assert ours <= MAY_IMPORT[file.relative_to(ROOT).parts[0]]


def test_there_are_no_circles():
    graph = {".".join(file.relative_to(ROOT).with_suffix("").parts): imported(file) for file in MODULES}

    def reach(name, seen):
        for other in graph.get(name, ()):
            if other in graph and other not in seen:
                seen.add(other)
                reach(other, seen)
        return seen

    assert [name for name in graph if name in reach(name, set())] == []


def test_no_mask_free_stage_reads_ground_truth():
    readers = {file.stem for file in (ROOT / "stages").glob("*.py") if "annotations" in declared_reads(file)}
    assert readers, "somebody must measure"
    assert readers <= TRUTH
    labelled = {file.stem for file in (ROOT / "stages").glob("*.py") if "labels" in declared_reads(file)}
    assert labelled == {"nouns", "categories"}, "labels stand for captions, and name categories; nothing else sees them"


def test_a_stage_gets_no_input_that_it_did_not_declare():
    for file in (ROOT / "stages").glob("*.py"):
        asked = set(re.findall(r'job\.(?:rows|table|count|checkpoint|paths)\(\s*"(\w+)"', file.read_text()))
        assert asked <= set(declared_reads(file)), file.name


def test_every_stage_has_a_rule_and_a_docstring():
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(), re.M))
    stages = {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert stages - {"predict"} <= rules
    for name in stages:
        assert ast.get_docstring(ast.parse((ROOT / "stages" / f"{name}.py").read_text()))


def test_the_workflow_has_one_handler_of_its_start():
    """Of several, Snakemake silently keeps the last."""
    assert re.findall(r"^onstart:", (ROOT / "Snakefile").read_text(), re.M) == ["onstart:"]


def test_conda_and_pip_get_the_same_versions():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pip = {line for line in lines if line and not line.startswith("#")}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [listed] = [item["pip"] for item in conda if isinstance(item, dict)]
    assert set(listed) == pip
    assert all("==" in line for line in pip)


def test_shipped_weights_are_small():
    assert sum(file.stat().st_size for file in (ROOT / "data" / "weights").iterdir()) < 12 * 2**20
