"""What the Snakefile asks for: manifests as files, a stage's params, the checked configuration."""

import hashlib
import json
import os
import re
import shlex
import sys
from functools import cache, partial
from pathlib import Path

from pipeline.arguments import CONFIG_VARIABLE
from pipeline.config import checked, detectors, is_measured
from pipeline.files import file_parameters, missing_files
from pipeline.lineage import declaration, homes, parents, stage_names
from pipeline.variants import variants
from store.blobs import write_atomically
from store.fingerprint import ROOT, fingerprint, stage_fingerprint
from structures.errors import UserError

_WILDCARD = re.compile(r"\{(\w+)\}")  # Snakemake would take a pattern of the configuration for its own


class Workflow:
    """A configured run, and the variants of it that the tables compare, as Snakemake sees them.

    Paths are patterns in {run}; what a job reads is asked for by functions of its wildcards, since a variant takes from
    another run what is configured alike there.
    """

    def __init__(self, config: dict, data: str = "data"):
        self.config = checked(config)
        self.data = data
        self.run = self.config["run"]
        self.configs = {self.run: self.config}
        self.variants = []
        for variant, seed, overlay in variants(self.config):
            self.variants.append((variant, seed))
            self.configs[overlay["run"]] = checked(overlay)
        made = homes(self.configs, stage_names())
        for run, its in self.configs.items():
            its["homes"] = {stage: home for stage, home in made[run].items() if home != run}

    # What a rule makes: patterns

    def manifest(self, stage: str, part: str = "all") -> str:
        """The manifest of a stage; part: "{shard}" or "{detector}" for one that runs once for each."""
        return f"{self.data}/runs/{{run}}/manifests/{stage}/{part}.json"

    def log(self, stage: str, part: str = "all") -> str:
        return f"logs/{{run}}/{stage}/{part}.log"

    def benchmark(self, stage: str, part: str = "all") -> str:
        return f"{self.data}/runs/{{run}}/benchmarks/{stage}/{part}.tsv"

    # What a rule reads: functions of wildcards

    def inputs(self, stage: str):
        """What a job of a stage reads: manifests in the runs that make them; of a stage that runs once a shard that of the
        job's shard, or all of them; nothing of what the configuration leaves out. A function of wildcards."""

        before_in = {run: parents(stage, config) for run, config in self.configs.items()}

        def wanted(wildcards) -> list[str]:
            config = self.configs[wildcards.run]
            found = []
            for before in before_in[wildcards.run]:
                per = declaration(before).get("per")
                parts = ["all"]
                if per == "detector":
                    parts = detectors(config)
                elif per == "shard":
                    mine = declaration(stage).get("per") == "shard"
                    parts = [wildcards.shard] if mine else [str(shard) for shard in range(config["shards"])]
                found += [self._made(before, wildcards.run, part) for part in parts]
            if declaration(stage).get("per") == "detector":
                found.append(self._made(wildcards.detector, wildcards.run))
            return found

        return wanted

    def _made(self, stage: str, run: str, part: str = "all") -> str:
        """A manifest of a stage, in the run that makes it for `run`."""
        return self.manifest(stage, part).format(run=self.configs[run]["homes"].get(stage, run))

    def threads(self, wildcards) -> int:
        """Two for a run's own jobs, which wait for each other; one for those of variants, of which many run at once."""
        return 2 if wildcards.run == self.run else 1

    def goals(self) -> list[str]:
        """What `all` asks for: the pictures, and the scores where there is ground truth to measure with."""
        made = ["report"] + ["evaluate"] * is_measured(self.config)
        return [self.manifest(stage).format(run=self.run) for stage in made]

    def scores(self, wildcards) -> list[str]:
        """The scores of all variants. Raises UserError where the configuration asks for none, or the tables for another."""
        from pipeline.paper_tables import check_variants

        if not self.variants:
            raise UserError(
                "the configuration asks for no variants: set tables.seeds, as in --config 'tables={seeds: [1]}'"
            )
        check_variants(Path(self.config["tables"]["layout"]), {variant for variant, _ in self.variants})
        runs = [run for run in self.configs if run != self.run]
        return [self.manifest("evaluate").format(run=run) for run in runs]

    def tables_params(self) -> dict:
        layout = self.config["tables"]["layout"]
        words = " ".join(f"{variant}:{seed}" for variant, seed in self.variants)
        return {"layout": layout, "variants": words, "code": fingerprint("pipeline.paper_tables")}

    def tables_command(self, python: str) -> str:
        """The command line that fills the papers' tables."""
        options = f"--run {self.run} --layout {{params.layout}} --variants {{params.variants}}"
        return f"{python} -m store --data {self.data} tables {options} 2>&1 | tee {{log}}"

    def of_this_run(self, *stages: str) -> list[str]:
        """The manifests of stages of the configured run itself."""
        return [self.manifest(stage).format(run=self.run) for stage in stages]

    def check_files(self, stages: list[str]) -> None:
        """Look for every file that the stages need, and say once that scores are left out where they must be.

        Raises UserError listing all that is missing.
        """
        missing = missing_files(self.config, stages)
        if missing:
            raise UserError(f"{len(missing)} of the files that this run needs are missing:\n  " + "\n  ".join(missing))
        if not is_measured(self.config):
            print("no ground truth (ingest.val.instances is not set): evaluation is left out", file=sys.stderr)

    def toy_files(self) -> list[str]:
        """What drawing the embedded data set makes; nothing where the data set is the user's own."""
        return self.source_files() if self.config["toy"]["train"] else []

    def toy_params(self) -> dict:
        return {"drawn": self.config["toy"], "code": fingerprint("sources.toy.__main__")}

    def toy_command(self, python: str) -> str:
        """The command line that draws the embedded data set."""
        root, toy = self.config["root"], self.config["toy"]
        sizes = f"--train {toy['train']} --val {toy['val']} --seed {toy['seed']}"
        return f"{python} -m sources.toy --out {shlex.quote(root)} {sizes} 2>&1 | tee {{log}}"

    def source_files(self) -> list[str]:
        """The data set's files that ingest depends on."""
        files = [str(path) for path in self._listings()]
        return files if self.config["toy"]["train"] else [file for file in files if Path(file).exists()]

    def _listings(self) -> list[Path]:
        """The files (not folders) that the ingest section names."""
        section = self.config["ingest"]
        kinds = ("instances", "captions", "labels", "boxes", "classes")
        parts = (section[part] for part in ("train", "val", "captioned"))
        return [
            Path(self.config["root"]) / part[kind] for part in parts for kind in kinds if part["images"] and part[kind]
        ]

    def params(self, stage: str) -> dict:
        """What Snakemake compares: the stage's section, the seed, its code's fingerprint, its weight files' state."""
        section, seed, files, code = (
            cache(partial(function, stage))
            for function in (self._section, self._seed, self._file_states, self._fingerprint)
        )
        return {
            "stage": stage,
            "section": lambda wildcards: section(wildcards.run),
            "seed": lambda wildcards: seed(wildcards.run),
            "shards": self.config["shards"],
            "code": lambda wildcards: code(wildcards.run),
            "files": lambda wildcards: files(wildcards.run),
        }

    def _fingerprint(self, stage: str, run: str) -> str:
        return stage_fingerprint(stage, self.configs[run].get(stage, {}))

    def _section(self, stage: str, run: str) -> str:
        section = self.configs[run].get(stage, {})
        return _WILDCARD.sub(r"<\1>", json.dumps(section, sort_keys=True))

    def _seed(self, stage: str, run: str) -> str:
        return str(self.configs[run]["seed"]) if declaration(stage).get("random") else "none"

    def _file_states(self, stage: str, run: str) -> str:
        config = self.configs[run]
        section = config.get(stage, {})
        files = {value: _state(value) for _, value, _ in file_parameters(stage, section) if stage != "ingest"}
        if stage == "categories" and config["vocabulary"]:
            files[config["vocabulary"]] = _state(config["vocabulary"])
        return json.dumps(files, sort_keys=True)

    def command(self, python: str) -> str:
        """The command line of every stage, up to its shard.

        It holds nothing of the configuration, for Snakemake would take any change of it as changed code: that
        travels in the environment, as a folder of files, one a run, named by its content, so that what one snakemake runs
        can't be changed by another that is started beside it.
        """
        texts = {run: json.dumps(config, sort_keys=True, indent=1) for run, config in self.configs.items()}
        digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
        folder = Path(self.data) / "configs" / digest
        for run, text in texts.items():
            if not (folder / f"{run}.json").exists():
                write_atomically(folder / f"{run}.json", text)
        os.environ[CONFIG_VARIABLE] = str(folder)
        if Path.cwd() != ROOT:
            os.environ["PYTHONPATH"] = str(ROOT)
        flags = f"--run {{wildcards.run}} --data {self.data} --threads {{threads}} --log {{log}}"
        return f"{python} -m stages.{{params.stage}} {flags}"


def _state(path: str) -> str:
    """A quick sign of whether a file changed: its size and time."""
    try:
        status = os.stat(path)
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"
