"""What the Snakefile asks for: each stage's inputs, outputs, resources and command line, from its declaration."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from pipeline import orphans
from pipeline.arguments import CONFIG_VARIABLE
from pipeline.conditions import measures_labels, reviewed, uses_ovis_labels
from pipeline.config import checked, has_ground_truth
from pipeline.config_file import read_yaml
from pipeline.data_sources import data_set_root, data_sources
from pipeline.environment import environment
from pipeline.estimate.jobs import planned_job
from pipeline.files import file_state, is_there, missing_files
from pipeline.lineage import parents, producing_runs
from pipeline.paper_tables import check_variants
from pipeline.parameters import (
    code_fingerprint,
    draws_random_numbers,
    file_parameters,
    file_path,
    parameters,
    records,
)
from pipeline.registry import detectors, stages, summary
from pipeline.rounds import rounds_before, source_key
from pipeline.slurm import ended_by_slurm
from pipeline.variants import run_name, variants
from store import locks
from store.blobs import Blobs, make_folder, write_atomically
from store.check import check_results, put_right
from store.fingerprint import ROOT, fingerprint
from store.manifest import Run, producer
from structures.addresses import Address
from structures.errors import UserError

_WILDCARD = re.compile(r"\{(\w+)\}")  # Snakemake would take a pattern of the configuration for its own
_FILLED_IN = re.compile(r"\{\s*\w")  # so begins what Snakemake fills in where a parameter is no function
_FEW_RUNS = 5  # as those of earlier rounds are
_PARTS = {"shard": "{shard}", "detector": "{detector}"}


class Workflow:
    """A configured run, and the variants of it that the tables compare, as Snakemake sees them.

    order: {stage: the stages whose results it reads}, as the Snakefile shows them: names with spaces between, a
    question mark behind those that some configurations do without, < behind what is read of the round before. Paths are
    patterns in {run}; what a job reads is asked for by functions of its wildcards, since a variant takes from another run
    what is configured alike there.

    files: those that the configuration was read from. Without an order nothing is compared with the declarations.

    Raises UserError where the configuration is wrong, ValueError where order is not what the stages declare.
    """

    def __init__(
        self, config: dict, order: dict[str, str] | None = None, data: str = "data", files: Iterable[str] = ()
    ):
        if order is not None:
            _check_order(order)
        for file in files:
            read_yaml(Path(file), dict)  # Snakemake takes the last of a key that stands twice
        self.config = checked(config)
        root = data_set_root(self.config)
        if isinstance(root, Address) and self.config["toy"]["train"]:
            raise UserError(f"toy.train draws a data set into the folder root, which {root} is none: set it to 0")
        self.data = data
        self.run = self.config["run"]
        self.configs = {self.run: self.config}
        self.variants = []
        for variant, seed, overlay in variants(self.config):
            self.variants.append((variant, seed))
            self.configs[overlay["run"]] = checked(overlay)
        for run_config in list(self.configs.values()):
            self.configs |= {before["run"]: before for before in rounds_before(run_config)}
        producers = producing_runs(self.configs)
        for run, run_config in self.configs.items():
            run_config["producing_runs"] = {stage: other for stage, other in producers[run].items() if other != run}

    # What a rule makes: patterns

    def manifest(self, stage: str) -> str:
        """The manifest of a stage, with a wildcard for its shard or detector."""
        return f"{self.data}/runs/{{run}}/manifests/{stage}/{_part(stage)}.json"

    def log(self, stage: str) -> str:
        return f"logs/{{run}}/{stage}/{_part(stage)}.log"

    def benchmark(self, stage: str) -> str:
        return f"{self.data}/runs/{{run}}/benchmarks/{stage}/{_part(stage)}.tsv"

    def of_this_run(self, *names: str) -> list[str]:
        """The manifests of stages of the configured run itself, of all their shards or detectors."""
        return [manifest for name in names for manifest in self._of_run(self.run, name)]

    def _of_run(self, run: str, stage: str) -> list[str]:
        parts = _wildcards(stages()[stage].per, self.configs[run])
        return [self.manifest(stage).format(run=run, **part) for part in parts]

    # What a rule reads: functions of wildcards

    def inputs(self, stage: str) -> Callable:
        """What a job of a stage reads, as a function of wildcards: manifests in the runs that produce them; of a stage
        that runs once a shard that of the job's shard, or all of them; nothing of what the configuration leaves out.
        ingest reads the data set's own files."""
        if stage == "ingest":
            return lambda wildcards: self.source_files()
        per = stages()[stage].per
        parents_in = {run: parents(stage, config) for run, config in self.configs.items()}

        def manifests_of_job(wildcards) -> list[str]:
            config = self.configs[wildcards.run]
            manifests = []
            for parent in parents_in[wildcards.run]:
                of_parent = stages()[parent].per
                one_shard = per == of_parent == "shard"
                parts = [{"shard": wildcards.shard}] if one_shard else _wildcards(of_parent, config)
                manifests += [self._produced(parent, wildcards.run, **part) for part in parts]
            if per == "detector":
                manifests.append(self._produced(wildcards.detector, wildcards.run))
            for artifact in stages()[stage].inputs_of_round_before(config):
                before, _ = producer(artifact)
                run = config["producing_runs"].get(source_key(before))  # none before the first round: the stage says so
                manifests += self._of_run(run, before) if run else []
            return manifests

        return manifests_of_job

    def _produced(self, stage: str, run: str, **part) -> str:
        """A manifest of a stage, in the run that produces it for `run`."""
        return self.manifest(stage).format(run=self.configs[run]["producing_runs"].get(stage, run), **part)

    # How a rule runs

    def threads(self, stage: str) -> Callable:
        """As declared for a run's own jobs, which wait for each other; one for those of variants, of which many run at
        once."""
        return lambda wildcards: stages()[stage].threads if wildcards.run == self.run else 1

    def resources(self, stage: str) -> dict[str, int | Callable]:
        """gpu, mem_mb and runtime (minutes) of a job; of a job that failed the next attempt asks for more."""
        declaration = stages()[stage]
        return {
            "gpu": declaration.gpu,
            "mem_mb": lambda wildcards, attempt: declaration.mem_mb * attempt,
            "runtime": lambda wildcards, attempt: declaration.runtime * attempt,
        }

    def group(self, stage: str, workflow) -> Callable | None:
        """The group of a stage whose jobs are short, its own, where a profile says how many of it make one job
        (`group-components`); groups that nobody joins would cost `snakemake -n` seconds."""
        if not stages()[stage].short:
            return None
        return lambda wildcards: stage if stage in workflow.group_settings.group_components else None

    def params(self, stage: str, workflow) -> dict:
        """What Snakemake compares: a stage's parameters, the seed, its code's fingerprint, libraries and
        device, the state of its files. What is alike in all runs of a stage of many jobs is no function, which Snakemake
        would call for each."""
        declaration = stages()[stage]
        has_many = declaration.per == "shard" and workflow.is_main_process and len(self.configs) <= _FEW_RUNS

        def of_run(function: Callable[[dict], str]) -> Callable | str:
            known = cache(lambda run: _WILDCARD.sub(r"<\1>", function(self.configs[run])))
            with contextlib.suppress(UserError, OSError):  # a job says it
                alike = {known(run) for run in self.configs} if has_many else set()
                if len(alike) == 1 and not _FILLED_IN.search(known(self.run)):
                    return known(self.run)
            return lambda wildcards: known(wildcards.run)

        def section(config: dict) -> str:
            values = {p.key: p.value for p in parameters(declaration, config) if not p.rules.get("neutral")}
            return json.dumps(values | records(declaration, config), sort_keys=True)

        def files(config: dict) -> str:
            named = [p for p in file_parameters(declaration, config) if p.rules.get("below") != "root"]
            states = {p.value: file_state(p.value) for p in named}
            return json.dumps(states | self._picture_folders(stage, config), sort_keys=True)

        part = {"shard": "--shard {shard}", "detector": "--detector {detector}"}
        return {
            "stage": stage,
            "part": part.get(declaration.per, ""),
            "section": of_run(section),
            "seed": of_run(lambda config: str(config["seed"]) if draws_random_numbers(declaration, config) else "none"),
            "shards": self.config["shards"],
            "code": of_run(lambda config: code_fingerprint(declaration, config)),
            "environment": of_run(lambda config: json.dumps(environment(declaration, config))),
            "files": of_run(files),
        }

    def command(self) -> str:
        """The command line of every stage, which Snakemake fills in. It holds nothing of the configuration, for
        Snakemake would take any change of it as changed code: see export."""
        flags = (
            f"--run {{wildcards.run:q}} --data {_word(self.data)} --threads {{threads}} --gpus {{resources.gpu}} "
            "--log {log:q}"
        )
        return f"{_word(sys.executable)} -m stages.{{params.stage}} {{params.part}} {flags}"

    def summary(self, stage: str) -> str:
        """What a stage does, on one line."""
        return summary(stage)

    def export(self) -> None:
        """Hand the configuration to the stages, through the environment, as a folder of files, one a run, named by its
        content, so that what one snakemake runs can't be changed by another that is started beside it."""
        texts = {run: json.dumps(config, sort_keys=True, indent=1) + "\n" for run, config in self.configs.items()}
        digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
        folder = Path(self.data) / "configs" / digest
        for run, text in texts.items():
            if _content(folder / f"{run}.json") != text:
                write_atomically(folder / f"{run}.json", text)
        os.environ[CONFIG_VARIABLE] = str(folder)
        orphans.sign()
        if Path.cwd() != ROOT:
            os.environ["PYTHONPATH"] = str(ROOT)

    # What is there already, and who else is at work

    def check_results(self) -> None:
        """Look whether what the runs' manifests list is there, and put right links that do not lead to it.

        Raises UserError where a manifest is damaged, or a file is missing or in the way of a link.
        """
        data = Path(self.data)
        runs = [Run(data, name) for name in self.configs if (data / "runs" / name).is_dir()]
        if not check_results(data, runs, memos=False, unsealed=False).lines():
            return
        with locks.held(Blobs(data).lock, needed=False):  # again, while nobody is about to change them
            found = check_results(data, runs, memos=False, unsealed=False)
            put_right(data, found.links)
        if found.links:
            print(
                f"{len(found.links)} links to results were missing or led elsewhere, and were put right",
                file=sys.stderr,
            )
        faults = [line for line in found.lines() if not line.startswith("link: ")]
        if faults:
            raise UserError(
                f"{len(faults)} results of earlier runs are not what they were: `python -m store verify --repair` removes "
                "them, then snakemake makes them again\n  " + "\n  ".join(faults[:20])
            )

    def begin(self, jobs: list, *, alone: bool) -> None:
        """Look for the files that jobs of Snakemake need; alone: and lock what they write. Raises UserError where a file is
        missing, another snakemake has the lock, or the disk is certainly too small."""
        self.check_files({job.rule.name for job in jobs})
        if alone:
            self.hold(jobs)
            self.check_space(jobs)

    def check_space(self, jobs: list) -> None:
        """Look whether what jobs of Snakemake will write fits on the disk, and say so where it seems not to. Raises UserError
        where it certainly does not, unless the key `disk_space` says otherwise."""
        if self.config["disk_space"] == "ignore":
            return
        from pipeline.estimate.disk import shortage  # here: -n and the jobs of a cluster do without

        planned = [planned_job(job.rule.name, self.run, job.wildcards_dict) for job in jobs]
        short = shortage(planned, self.configs, self.run, Path(self.data))
        if short and short.is_certain and self.config["disk_space"] == "stop":
            raise UserError(f"{short}; --config disk_space=warn goes on anyway")
        if short:
            print(f"warning: {short}", file=sys.stderr)

    def hold(self, jobs: list) -> None:
        """Lock, for as long as this process lives, what jobs of Snakemake write: their runs, the data set that is drawn,
        the tables. Raises UserError where another snakemake that lives has one of them."""
        folder = make_folder(Path(self.data, "locks"))
        wanted = {}
        for job in jobs:
            if "run" in job.wildcards.keys():
                wanted[f"run-{job.wildcards.run}"] = f"the run {job.wildcards.run}"
            elif job.rule.name == "overview":
                wanted[f"run-{self.run}"] = f"the run {self.run}"
            elif job.rule.name == "toy":
                wanted["toy-" + hashlib.sha256(self.config["root"].encode()).hexdigest()[:16]] = self.config["root"]
            elif job.rule.name == "tables":
                wanted["tables"] = "data/tables.md"
        for name, what in sorted(wanted.items()):
            try:
                lock = locks.acquire(folder / name, wait=False, through_exec=False)
            except OSError as error:
                if not locks.are_missing(error):
                    raise
                print(f"no lock on {folder / name} ({error}): start no second snakemake on this run", file=sys.stderr)
                continue
            if lock is None:
                holder = locks.holder(folder / name)
                raise UserError(f"{what} is being made by another snakemake ({holder}): wait until it ends, or end it")
            locks.sign(lock)

    @staticmethod
    def tell_ended(log: Iterable[str]) -> None:
        """Say why a cluster ended jobs of a run that failed. log: the files that the run said it in."""
        for line in (line for file in log for line in ended_by_slurm(Path(file))):
            print(line, file=sys.stderr)

    # What the whole run asks for

    def goals(self, *names: str, scores: str, exports: str = "", model: str = "") -> list[str]:
        """What `all` asks for: the stages of the names, the one of the scores, of earlier rounds as well, where there is
        ground truth, and those of the exports, of labels and of a detector, if they are named and formats, or a detector, are."""
        runs = [self.run, *(before["run"] for before in rounds_before(self.config))]
        measured = [manifest for run in runs for manifest in self._of_run(run, scores)]
        asked = {exports: self.config["export"]["formats"], model: self.config["export"]["onnx"]}
        exported = self.of_this_run(*(stage for stage, what in asked.items() if stage and what))
        return self.of_this_run(*names) + exported + measured * has_ground_truth(self.config)

    def with_lost(self, goals: list[str]) -> list[str]:
        """Goals and, of all that they are made of, the manifests that are not there though what was made of them is, as when a
        kill came after Snakemake removed what a job was to make anew: it makes nothing again that only something in the
        middle lacks."""
        there = cache(os.path.exists)
        lost, seen = [], set(goals)
        left = sorted(seen)
        while left:
            made = left.pop()
            *_, run, _, stage, name = made.split("/")
            if stage == "ingest":
                continue
            part = name.removesuffix(".json")
            for source in self.inputs(stage)(SimpleNamespace(run=run, shard=part, detector=part)):
                if there(made) and not there(source):
                    lost.append(source)
                if source not in seen:
                    seen.add(source)
                    left.append(source)
        return goals + sorted({*lost} - {*goals})

    def check_until(self, until: Iterable[str]) -> list[str]:
        """No further input of `all`. Raises UserError where Snakemake is asked to stop behind a stage that one round runs before the next round's: it
        stops behind all jobs of a rule at once, and would find none of the later ones to begin with (its issue 823)."""
        chained = {"pseudo_labels", "train_detector"} if self.config["rounds"] > 1 else set()
        chained |= {"relabel"} if self.config["rounds"] > 2 else set()
        if measures_labels(self.config) and any(map(measures_labels, rounds_before(self.config))):
            chained |= {"label_quality"}
        for stage in sorted(chained & set(until)):
            [goal] = self.of_this_run(stage)[:1]
            raise UserError(
                f"--until {stage}: with {self.config['rounds']} rounds there are several of these, one behind the other; name its "
                f"result: snakemake --cores all {goal}"
            )
        return []

    def check_files(self, names: set[str]) -> None:
        """Look for every file that the stages need, and say once that scores are left out where they must be.

        Raises UserError listing all that is missing.
        """
        if reviewed(self.config) and not uses_ovis_labels(self.config):
            raise UserError(
                "review.decisions is set, but no detector of this run learns from Mask-free OVIS's labels, which are those "
                "that people review: leave it empty, or change detectors or student_labels.labels"
            )
        leaves, trained = self.config["export"]["onnx"], detectors(self.config)
        if leaves and leaves not in trained:
            raise UserError(
                f"export.onnx is {leaves}, which this run does not train as one of its detectors: name one of "
                f"{', '.join(trained)}, or change detectors"
            )
        needed = [stage for name, stage in stages().items() if name in names]
        missing = missing_files(needed, self.config)
        if missing:
            raise UserError(f"{len(missing)} of the files that this run needs are missing:\n  " + "\n  ".join(missing))
        if not has_ground_truth(self.config):
            print("no ground truth (no val part has instances): evaluation is left out", file=sys.stderr)

    def source_files(self) -> list[str]:
        """The data set's files (not folders) that ingest depends on; of those at an address Snakemake knows the states."""
        parameters_below_root = [
            p for p in file_parameters(stages()["ingest"], self.config) if not p.rules.get("folder")
        ]
        part_has_images = {
            f"{source.key}.{name}": part["images"]
            for source in data_sources(self.config)
            for name, part in source.parts.items()
        }
        paths = [file_path(p, self.config) for p in parameters_below_root if part_has_images[p.key.rpartition(".")[0]]]
        files = [str(path) for path in paths if isinstance(path, Path)]
        return files if self.config["toy"]["train"] else [file for file in files if is_there(Path(file))]

    def _picture_folders(self, stage: str, config: dict) -> dict[str, str]:
        """The states of the folders that ingest reads, and of files at an address; Snakemake follows files on disk alone. What
        `toy` draws is its own."""
        if stage != "ingest" or config["toy"]["train"]:
            return {}
        below_root = [(p, file_path(p, config)) for p in file_parameters(stages()[stage], config)]
        return {
            p.key: file_state(path)
            for p, path in below_root
            if path is not None and (p.rules.get("folder") or isinstance(path, Address))
        }

    def toy_files(self) -> list[str]:
        """What drawing the embedded data set makes; nothing where the data set is the user's own."""
        return self.source_files() if self.config["toy"]["train"] else []

    def toy_params(self) -> dict:
        return {"toy": self.config["toy"], "code": fingerprint("sources.toy.__main__")}

    def toy_command(self) -> str:
        """The command line that draws the embedded data set."""
        root, toy = self.config["root"], self.config["toy"]
        sizes = f"--train {toy['train']} --val {toy['val']} --seed {toy['seed']}"
        return f"{_word(sys.executable)} -m sources.toy --out={_word(root)} {sizes} 2>&1 | tee {{log:q}}"

    def overview(self, name: str) -> str:
        """A file or folder of the run's main pictures and tables."""
        return f"{self.data}/runs/{self.run}/overview/{name}"

    def overview_params(self) -> dict:
        return {"code": fingerprint("pipeline.overview")}

    def overview_command(self) -> str:
        """The command line that gathers the run's main pictures and tables."""
        return f"{_word(sys.executable)} -m pipeline --data {_word(self.data)} overview --run {self.run} 2>&1 | tee {{log:q}}"

    def scores(self, wildcards) -> list[str]:
        """The scores of the variants that the tables show. Raises UserError where the configuration asks for none, or the
        tables for another."""
        if not self.variants:
            raise UserError(
                "the configuration asks for no variants: set tables.seeds, as in --config 'tables={seeds: [1]}'"
            )
        layout = Path(self.config["tables"]["layout"])
        shown = check_variants(layout, {variant for variant, _ in self.variants})
        runs = [run_name(self.run, variant, seed) for variant, seed in self.variants if variant in shown]
        return [self.manifest("evaluate").format(run=run) for run in runs]

    def tables_params(self) -> dict:
        names = " ".join(f"{variant}:{seed}" for variant, seed in self.variants)
        return {
            "layout": lambda wildcards: self.config["tables"]["layout"],  # of a text Snakemake would fill in its braces
            "variants": names,
            "code": fingerprint("pipeline.paper_tables"),
        }

    def tables_command(self) -> str:
        """The command line that fills the papers' tables."""
        options = f"--run {self.run} --layout={{params.layout:q}} --variants {{params.variants}}"
        return f"{_word(sys.executable)} -m pipeline --data {_word(self.data)} tables {options} 2>&1 | tee {{log:q}}"


def _word(text: str) -> str:
    """A text as one word of a shell command that Snakemake fills in."""
    return shlex.quote(text).replace("{", "{{").replace("}", "}}")


def _content(file: Path) -> str | None:
    """What a text file holds; None where it can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _part(stage: str) -> str:
    return _PARTS.get(stages()[stage].per, "all")


def _wildcards(per: str, config: dict) -> list[dict]:
    """The wildcards of each job of a stage that runs once, once a shard or once a detector."""
    if per == "detector":
        return [{"detector": detector} for detector in detectors(config)]
    return [{"shard": number} for number in range(config["shards"])] if per == "shard" else [{}]


def _check_order(order: dict[str, str]) -> None:
    """Raises ValueError where the Snakefile draws other edges than the stages declare, or a stage before its inputs."""
    declared = {}
    for name, stage in stages().items():
        always = {producer(entry)[0] for entry in stage.reads if isinstance(entry, str)}
        edges = {producer(artifact)[0]: "?" for artifact in stage.artifacts} | dict.fromkeys(always, "")
        declared[name] = {f"{edge}{mark}" for edge, mark in edges.items()}
        declared[name] |= {"detector"} if stage.per == "detector" else set()
        declared[name] |= {f"{producer(artifact)[0]}<" for artifact in stage.artifacts_of_round_before}
    for name in sorted(declared.keys() - order.keys()):
        raise ValueError(f"the Snakefile has no line for stages/{name}.py")
    for name in sorted(order.keys() - declared.keys()):
        raise ValueError(f"the Snakefile has a line for {name}, but there is no stage in stages/{name}.py")
    before = {"detector"}
    for name, edges in order.items():
        if set(edges.split()) != declared[name]:
            reads = " ".join(sorted(declared[name]))
            raise ValueError(f"the Snakefile: {name} reads {edges!r}, but stages/{name}.py declares {reads!r}")
        late = {edge.rstrip("?") for edge in edges.split() if not edge.endswith("<")} - before
        if late:
            raise ValueError(f"the Snakefile: {name} stands before {', '.join(sorted(late))}")
        before.add(name)
