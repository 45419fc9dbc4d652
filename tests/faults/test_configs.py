"""Configurations with changed values, keys, marks of YAML and bytes: taken as they are written, or refused in lines that name
the file or the key; nothing is written elsewhere, and no text of them becomes a command."""

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import format as filled_in
from snakemake.utils import update_config

from pipeline.config import load
from pipeline.config_file import ConfigError
from pipeline.workflow import Workflow
from store.fingerprint import ROOT
from structures.errors import UserError
from tests.conftest import MINIATURE
from tests.faults.mutations import hostile, mutated_bytes, mutated_tree
from tests.pipeline.test_workflow import order

pytestmark = pytest.mark.faults
COMMANDS = (
    "$(touch canary)", "`touch canary`", "; touch canary #", "a'b", 'a"b', "a b", "a\nb", "{run}", "{{", "}", "{wildcards.run}",
    "🐉", "*", "~", "$HOME", "-rf", "--out=x", "..", ".", "toy\n", "!!x", "&a", "%s", "a/../../b", "\u2028", "\x85", "\x1b[31m",
)  # fmt: skip
SNIPPETS = (
    "<<: *a", "seed: 1\nseed: 2", "seed: &a 3", "shards: *a", "? {a: b}\n: c", "? [1]\n: 2", "[1, 2]: 3", "1: 2", "null: 1", "yes: no",
    "---\nrun: x", "...", "%YAML 1.1", "\ttoy: 1", "seed: 0o7", "seed: 0777", "seed: 0x10", "seed: 1_000", "seed: 1:30", "seed: on",
    "seed: ~", "seed:", "seed: 2026-13-45", "seed: 2026-01-02", "seed: 2026-01-02 25:00:00", "seed: .nan", "seed: -.inf", "seed: 1e999",
    "seed: !!float 1", "seed: !!binary aGk=", "seed: !!set {1}", "seed: !!omap [a: 1]", "seed: !!python/tuple [1]", "seed: !!int x",
    "seed: !!python/object/apply:os.system ['touch canary']", "seed: !!python/name:os.system", "seed: !x 1", "seed: !!timestamp x",
    "toy: &t\n  train: *t", "toy: &t {train: [*t]}", "gradcam: &g {<<: *g}", "gradcam: {<<: [{batch: 2}, {batch: 3}]}", "gradcam: {<<: 1}",
    "gradcam: {<<: {batch: 2, iterations: 2}, batch: 3}", "vocabulary: |\n  a\n  b", "vocabulary: >-\n  a\n  b", "vocabulary: ''",
    "toy: {train: 1, train: 2}", "tables: {seeds: [1, 1]}", "tables: {seeds: [1, 2]}", "detectors: []", "detectors: [train_teacher]",
)  # fmt: skip
BOMB = "\n".join(["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 40))])
DEEP = ("[" * 5000, "{a: " * 3000, "- " * 3000, "[" * 31 + "]" * 31, "{a: " * 40 + "1" + "}" * 40, "? " * 3000)
VARIANT = {"seeds": 1, "gradcam": {"iterations": 1}, "tables": {"overlay": ""}}
LAYOUT = [
    {
        "table": "t",
        "note": "n",
        "columns": ["generalized segm all"],
        "rows": [{"row": "r", "variant": "v", "detector": "train_detector", "paper": [1.5]}],
    }
]
FILES = ("c.yaml", "o.yaml", "v.yaml", "l.yaml", "c.json")
WAYS = ("tree", "tree", "set", "set", "set", "json", "text", "text", "bytes", "encoding", "variant", "layout", "deep")


@functools.cache
def stage_order() -> dict[str, str]:
    return order()


@functools.cache
def keys() -> list[tuple[str, ...]]:
    """The path of every parameter of the schema."""
    found, waiting = [], [((), yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text()))]
    while waiting:
        path, rules = waiting.pop()
        for name, rule in rules.get("properties", {}).items():
            found.append((*path, name))
            waiting.append(((*path, name), rule))
    return sorted(found)


def seed_trees() -> list[dict]:
    shipped = [yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) for name in ("config", "coco", "folder")]
    whole = [MINIATURE, *shipped, {"run": "r", "root": "d"}]
    tables = {"seeds": [1, 2], "variants": "variants", "layout": "l.yaml", "overlay": ""}
    return [
        json.loads(json.dumps(tree)) | {"tables": tables | {"seeds": [1, 2][: i % 3]}} for i, tree in enumerate(whole)
    ]


def put(tree: dict, path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        tree = tree[name] = below if isinstance(below, dict) else {}
    tree[path[-1]] = value


def any_value(rng: random.Random) -> object:
    value = rng.choice(COMMANDS) if rng.random() < 0.4 else hostile(rng)
    return [value] if rng.random() < 0.15 else value


def as_yaml(tree: object, rng: random.Random) -> bytes:
    text = yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5, default_flow_style=rng.choice((None, True, False)))
    return text.encode("utf-8", "surrogatepass")


def write_case(folder: Path, way: str, rng: random.Random) -> tuple[list[str], object]:
    """Write a configuration that was changed in a way, and what it names; the files that a user names, and what was written
    where that is known."""
    (folder / "variants").mkdir(exist_ok=True)
    tree = rng.choice(seed_trees())
    overlay, variant, layout = {"gradcam": {"batch": 2}}, VARIANT, LAYOUT
    if way == "set":
        for _ in range(rng.randint(1, 3)):
            put(tree, rng.choice(keys()), any_value(rng))
    elif way in ("tree", "json"):
        tree = mutated_tree(tree, rng)
        if rng.random() < 0.3:
            overlay = mutated_tree(overlay, rng)
    elif way == "variant":
        tree["tables"]["seeds"] = [1]
        variant = mutated_tree(VARIANT, rng)
        if isinstance(variant, dict) and rng.random() < 0.5:
            put(variant, rng.choice(keys()), any_value(rng))
    elif way == "layout":
        tree["tables"]["seeds"] = [1]
        layout = mutated_tree(LAYOUT, rng)
    content = json.dumps(tree).encode() if way == "json" else as_yaml(tree, rng)
    if way == "text":
        lines = as_yaml(tree, random.Random(0)).decode().splitlines()
        for _ in range(rng.randint(1, 3)):
            line = rng.randrange(len(lines) + 1)
            if rng.random() < 0.7:
                lines[line:line] = [rng.choice((*SNIPPETS, BOMB))]
            elif line < len(lines):
                lines[line] = rng.choice(
                    (lines[line] * 2, " " + lines[line], lines[line].lstrip(), "\t" + lines[line], lines[line][:-1])
                )
        content = rng.choice(("\n", "\n", "\r\n", "\r")).join([*lines, ""]).encode("utf-8", "surrogatepass")
    elif way == "bytes":
        content = mutated_bytes(content, rng)
    elif way == "encoding":
        text = yaml.safe_dump(tree | {"root": "Füße 🐉"}, allow_unicode=True)
        content = text.encode(rng.choice(("utf-8-sig", "utf-16", "utf-32", "utf-16-be", "latin-1", "utf-7")), "replace")
    elif way == "deep":
        content += b"vocabulary: " + rng.choice(DEEP).encode() + b"\n"
    names = ["c.json" if way == "json" and rng.random() < 0.5 else "c.yaml"]
    (folder / names[0]).write_bytes(content)
    if rng.random() < 0.4 or way == "json":
        names.append("o.yaml")
        (folder / "o.yaml").write_bytes(as_yaml(overlay, rng))
    (folder / "variants" / "v.yaml").write_bytes(as_yaml(variant, rng))
    (folder / "l.yaml").write_bytes(as_yaml(layout, rng))
    known = way in ("tree", "json", "set") and len(names) == 1
    return names, tree if known else None


def told(error: UserError) -> str:
    """The message of an error, which must be short lines that name a file or a key."""
    text = str(error)
    text.encode()
    lines = text.split("\n")
    assert len(lines) <= 25 and all(len(line) < 1600 for line in lines), text
    assert all(letter.isprintable() for line in lines for letter in line), text
    sections = {path[0] for path in keys()}
    named = any(name in text for name in (*FILES, "unknown key", "a key ", "more than 100,000", "required property"))
    assert named or any(f"{name} is" in text or f"{name}." in text for name in sections), text
    return text


def as_written(written: object, taken: object) -> bool:
    """Whether a value of the configuration is what its file says: itself, or what a text says as YAML."""
    if isinstance(written, dict) and isinstance(taken, dict):
        return all(key in taken and as_written(value, taken[key]) for key, value in written.items())
    if isinstance(written, list) and isinstance(taken, list):
        return len(written) == len(taken) and all(map(as_written, written, taken))
    if isinstance(written, str) and not isinstance(taken, str):
        try:
            return as_written(yaml.safe_load(written), taken) or float(written) == taken
        except (ValueError, TypeError, yaml.YAMLError):
            return False
    return isinstance(written, bool) == isinstance(taken, bool) and written == taken


def by_snakemake(names: list[str]) -> dict | None:
    """The configuration as Snakemake hands it over; None where it refuses it itself, in its own words."""
    config: dict = {}
    try:
        for name in names:
            update_config(config, load_configfile(name))
    except Exception:
        return None
    return config


def outcome(folder: Path, names: list[str], written: object, python: Path) -> str:
    """What the Snakefile does with files, all but running jobs; the fault that is told, empty where there is none."""
    os.chdir(folder)
    before = set(folder.rglob("*"))
    try:
        by_hand, refused = load(*map(Path, names)), ""
    except ConfigError as error:
        by_hand, refused = None, told(error)
    if "more than 100,000 values" in refused:
        return refused  # which Snakemake alone would follow to the end of days
    config = by_snakemake(names)
    if config is None:
        tabs = any(b"\t" in Path(name).read_bytes() for name in names)  # libyaml takes some, Snakemake's parser none
        assert refused or tabs, "by hand it is taken"
        return refused
    try:
        flow = Workflow(config, stage_order(), files=names)
        flow.export()
        look_at(flow)
    except UserError as error:
        assert refused or by_hand["tables"]["seeds"], f"by hand it is taken: {error}"
        return told(error)
    assert not refused, f"by hand it is refused: {refused}"
    run_config = flow.configs[flow.run]
    assert by_hand == {**run_config, "producing_runs": by_hand["producing_runs"]}, "by hand it is another"
    assert written is None or as_written(written, run_config), "another configuration than is written"
    made = sorted(set(folder.rglob("*")) - before)
    [exported] = [file for file in made if file.name == f"{flow.run}.json"]
    assert exported.parent.parent == folder / "data/configs" and load(exported) == run_config
    assert all(file.is_relative_to(folder / "data") for file in made), made
    assert {file.name for file in made if file.is_file()} == {f"{run}.json" for run in flow.configs}
    commands_are_words(flow, folder, python)
    assert set(folder.rglob("*")) - {*before, folder / "args"} == set(made), "a command of a text was run"
    assert {file.name for file in folder.parent.iterdir()} == {folder.name, python.name}
    return ""


def look_at(flow: Workflow) -> None:
    """All that Snakemake asks a workflow for before it starts jobs."""
    few = flow.config["shards"] <= 100
    flow.goals("report", scores="evaluate", exports="export")
    flow.toy_files()
    for run in flow.configs:
        wildcards = types.SimpleNamespace(run=run, shard=0, detector="train_detector")
        for stage in stage_order():
            for value in (*flow.params(stage).values(), flow.threads(stage), *[flow.inputs(stage)] * few):
                text = value(wildcards) if callable(value) else value
                assert stage_order() and not (isinstance(text, str) and "\0" in text)
    try:
        if flow.variants:
            assert all(isinstance(file, str) for file in flow.scores(None))
    except UserError as error:
        told(error)
    try:
        flow.check_files(set(stage_order()))
    except UserError as error:
        text = str(error)
        text.encode()
        assert len(text) < 100_000 and "files that this run needs are missing" in text, text


def commands_are_words(flow: Workflow, folder: Path, python: Path) -> None:
    """Fill in the commands as Snakemake does, run them in a shell with a Python that notes its arguments, and compare."""
    own, sys.executable = sys.executable, str(python)
    try:
        commands = [flow.toy_command(), flow.tables_command(), flow.command()]
    finally:
        sys.executable = own
    tables = {name: value(None) if callable(value) else value for name, value in flow.tables_params().items()}
    params = types.SimpleNamespace(**tables, stage="nouns", part="--shard 0")
    values = {
        "wildcards": types.SimpleNamespace(run=flow.run), "params": params, "log": "a log", "threads": 1,
        "resources": types.SimpleNamespace(gpu=0),
    }  # fmt: skip
    (folder / "args").unlink(missing_ok=True)
    script = "\n".join(filled_in(command, stepout=1, **values) for command in commands)
    script = script.replace("| tee 'a log'", "")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout + done.stderr
    config, toy = flow.config, flow.config["toy"]
    sizes = ["--train", str(toy["train"]), "--val", str(toy["val"]), "--seed", str(toy["seed"])]
    wanted = ["-m", "sources.toy", f"--out={config['root']}", *sizes]
    wanted += [
        "-m",
        "pipeline",
        "--data",
        "data",
        "tables",
        "--run",
        flow.run,
        f"--layout={config['tables']['layout']}",
    ]
    wanted += ["--variants", *(f"{variant}:{seed}" for variant, seed in flow.variants)]
    wanted += [
        "-m",
        "stages.nouns",
        "--shard",
        "0",
        "--run",
        flow.run,
        "--data",
        "data",
        "--threads",
        "1",
        "--gpus",
        "0",
    ]
    wanted += ["--log", "a log"]
    assert (folder / "args").read_bytes().decode().split("\0")[:-1] == wanted


@pytest.fixture()
def python(tmp_path) -> Path:
    """A program in Python's place that notes its arguments in the folder where it runs."""
    program = tmp_path / "it's python"
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" >> args\n")
    program.chmod(0o755)
    return program


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_a_changed_configuration_is_taken_as_written_or_refused(campaign, tmp_path, python, limited, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def check(rng: random.Random) -> None:
        names, written = write_case(emptied(tmp_path / "here"), rng.choice(WAYS), rng)
        limited(outcome, tmp_path / "here", names, written, python)

    campaign.run(check, each=5)


def test_snakemake_takes_or_refuses_the_same_in_a_line(campaign, tmp_path, python, limited, monkeypatch):
    """What Snakemake can read itself; of other files its own message comes first."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def check(rng: random.Random) -> None:
        folder = emptied(tmp_path / "here")
        names, written = write_case(folder, rng.choice(("set", "tree", "json", "variant")), rng)
        fault = limited(outcome, folder, names, written, python)
        if "nested more than" in fault:
            return  # Snakemake's parser ends in a traceback of its own, before our code is read
        if any(json.loads(file.read_text())["shards"] > 20 for file in folder.glob("data/configs/*/*.json")):
            return  # so many jobs take minutes
        shutil.rmtree(folder / "data", ignore_errors=True)
        (folder / "args").unlink(missing_ok=True)
        before = set(folder.rglob("*"))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", "--quiet", "rules"]
        command += ["--configfile", *names]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        said = done.stdout + done.stderr
        assert "Traceback" not in said and (done.returncode != 0) == bool(fault), f"{fault or 'taken'}: {said}"
        assert not fault or fault.split("\n")[0] in said or "Config file must be given as JSON or YAML" in said, said
        made = set(folder.rglob("*")) - before
        assert all(file.relative_to(folder).parts[0] in ("data", ".snakemake") for file in made), made
        assert len(list(tmp_path.iterdir())) == 2

    campaign.run(check, each=0.1)
