"""README and docs/ stay true: links, the graph of stages, and what their commands and keys name."""

import argparse
import re
import shlex
from pathlib import Path
from unittest import mock

import pytest
import yaml
from snakemake.utils import update_config

from benchmarks.__main__ import ROWS
from pipeline.arguments import stage_arguments
from pipeline.config import checked, schema
from pipeline.registry import stages
from store.fingerprint import ROOT
from store.manifest import producer

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "data/README.md",
    ROOT / "benchmarks/NOTES.md",
]
NEEDED = {"run": "any", "root": "any"}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page in a language; without one, commands."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return [text for name, text in fenced if name == language]


def spans(page: Path) -> list[str]:
    """The pieces of code in a page's running text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(page: Path) -> list[list[str]]:
    """The words of every command of a page that is this project's: make, snakemake, python -m."""
    lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()] + spans(page)
    starts = re.compile(r"(?:\.venv/bin/)?(?=(?:make|snakemake|python -m) )")
    return [shlex.split(line[match.end() :], comments=True) for line in lines if (match := starts.match(line))]


def reduced_graph() -> dict[tuple[str, str], bool]:
    """{(stage that is read, stage that reads it): whether some configurations do without}, without what follows from
    others; of the stages that a run can have."""
    parents: dict[str, dict[str, bool]] = {}
    for name, stage in stages().items():
        if stage.reads or name == "ingest":
            always = {producer(entry)[0] for entry in stage.reads if isinstance(entry, str)}
            parents[name] = {producer(artifact)[0]: producer(artifact)[0] not in always for artifact in stage.artifacts}
            if stage.per == "detector":
                parents[name] |= {other: True for other, trainer in stages().items() if trainer.detector}

    def ancestors(name: str) -> set[str]:
        return set(parents[name]).union(*(ancestors(parent) for parent in parents[name]))

    return {
        (parent, name): optional
        for name, edges in parents.items()
        for parent, optional in edges.items()
        if not any(parent in ancestors(other) for other in edges)
    }


def test_the_graph_is_what_the_stages_declare():
    [graph] = blocks(ROOT / "README.md", "mermaid")
    edges = {}
    for line in graph.splitlines()[1:]:
        names = re.split(r"(-->|-\.->)", line.replace(" ", ""))
        for before, arrow, after in zip(names[::2], names[1::2], names[2::2]):
            assert (before, after) not in edges
            edges[before, after] = arrow == "-.->"
    assert edges == reduced_graph()


def test_the_list_of_stages_is_whole():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- ((?:`\w+`(?:, )?)+):", text, re.M)
    named = [name for line in listed for name in re.findall(r"`(\w+)`", line)]
    assert sorted(named) == sorted({name for edge in reduced_graph() for name in edge})


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pages
def test_every_command_names_what_there_is(page):
    for command in commands(page):
        if command[0] == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
            values = dict(word.split("=", 1) for word in command[1:] if "=" in word)
            assert {word for word in command[1:] if "=" not in word} <= set(targets), command
            assert set(values.get("ONLY", "").split()) <= ROWS.keys(), command
        elif command[0] == "snakemake":
            check_snakemake(command[1:])
        else:
            check_module(command[2], command[3:])


def check_snakemake(words: list[str]) -> None:
    """Its configuration can be loaded, and the rules, stages and profiles that it names are there."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("-n", action="store_true")
    parser.add_argument("-R", "--forcerun", "--until", nargs="+", default=[], dest="stages")
    parser.add_argument("--configfile", nargs="+", default=["config/config.yaml"])
    parser.add_argument("--config", nargs="+", default=[])
    parser.add_argument("--resources", nargs="+")
    parser.add_argument("--set-resources", nargs="+")
    parser.add_argument("--cores")
    parser.add_argument("--profile")
    parser.add_argument("--report", nargs="?")
    args = parser.parse_args(words)
    assert set(args.stages) <= stages().keys(), words
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(encoding="utf-8"), re.M))
    manifest = re.compile(r"data/runs/[\w.-]+/manifests/(\w+)/\w+\.json")
    made = {match[1] for match in map(manifest.fullmatch, args.targets) if match}
    assert made <= stages().keys(), words
    assert {target for target in args.targets if not manifest.fullmatch(target)} <= rules, words
    assert not args.profile or (ROOT / args.profile / "config.yaml").exists(), words
    config: dict = {}
    for file in args.configfile:
        update_config(config, yaml.safe_load((ROOT / file).read_text(encoding="utf-8")))
    for entry in args.config:
        key, value = entry.split("=", 1)
        update_config(config, {key: yaml.safe_load(value)})
    checked(config)


def check_module(name: str, words: list[str]) -> None:
    """The module is there, and every flag is one of its own."""
    if name == "stages.NAME":
        name = "stages.gradcam"
    file = ROOT / name.replace(".", "/")
    sources = [path for path in (file.with_suffix(".py"), file / "__main__.py") if path.exists()]
    assert sources, name
    stage = stages().get(name.removeprefix("stages."))
    if stage:
        with mock.patch("sys.argv", [name, *(word for word in words if word != "--help")]):
            stage_arguments(stage)
        return
    text = sources[0].read_text(encoding="utf-8")
    for word in words:
        if word.startswith("--") and word != "--help":
            assert f'"{word}"' in text, f"{name} {word}"
    if name in ("pipeline", "store") and words:
        assert f'"{words[0]}"' in text, f"{name} {words[0]}"


@pages
def test_every_key_of_the_configuration_is_one(page):
    """Of the kind `section.key`, `section: {key: value}` and `{key: value}` under a section's name."""
    properties = schema()["properties"]
    for span in spans(page):
        mapping = re.fullmatch(r"(\w+): (\{.*\})", span)
        if mapping and mapping[1] in properties:
            checked(NEEDED | yaml.safe_load(span.replace("…", "")))
        dotted = re.fullmatch(r"(\w+)((?:\.\w+)+)(?:: (.*))?", span)
        if dotted and dotted[1] in properties and Path(span).suffix not in (".md", ".parquet"):
            rules = properties[dotted[1]]
            for name in dotted[2][1:].split("."):
                assert name in rules.get("properties", {}), f"{span}: no key {name}"
                rules = rules["properties"][name]


@pages
def test_files_of_the_repository_that_are_named_exist(page):
    rooms = "benchmarks|config|docs|evaluation|models|pipeline|profiles|schemas|sources|stages|store|structures|tests|training"
    for span in spans(page):
        if re.fullmatch(rf"(?:{rooms})/[\w/.]*", span) and "NAME" not in span:
            assert (ROOT / span).exists(), span
