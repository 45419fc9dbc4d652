"""What the Snakefile asks for: manifests as files, a stage's params, the checked configuration."""

import hashlib
import json
import os
import re
import shlex
import sys
from pathlib import Path

from store.arguments import CONFIG_VARIABLE
from store.blobs import write_atomically
from store.config import checked, detectors, is_measured
from store.errors import UserError
from store.files import file_parameters, missing_files
from store.fingerprint import ROOT, fingerprint, stage_fingerprint

_WILDCARD = re.compile(r"\{(\w+)\}")  # Snakemake would take a pattern of the configuration for its own


class Workflow:
    """One configured run, as Snakemake sees it."""

    def __init__(self, config: dict, data: str = "data"):
        self.config = checked(config)
        self.data = data
        self.run = self.config["run"]
        self.shards = [str(shard) for shard in range(self.config["shards"])]

    def manifest(self, stage: str, shard: str = "all") -> str:
        """The manifest of a stage; "{shard}" makes it a pattern."""
        return f"{self.data}/runs/{self.run}/manifests/{stage}/{shard}.json"

    def each(self, stage: str) -> str:
        """The manifest pattern of a stage that runs once a shard."""
        return self.manifest(stage, "{shard}")

    def every(self, stage: str) -> list[str]:
        """The manifests of all shards of a stage."""
        return [self.manifest(stage, shard) for shard in self.shards]

    def log(self, stage: str, shard: str = "all") -> str:
        return f"logs/{self.run}/{stage}/{shard}.log"

    def benchmark(self, stage: str, shard: str = "all") -> str:
        return f"{self.data}/runs/{self.run}/benchmarks/{stage}/{shard}.tsv"

    def goals(self) -> list[str]:
        """What `all` asks for: the pictures, and the scores where there is ground truth to measure with."""
        return [self.manifest("report")] + ([self.manifest("evaluate")] if is_measured(self.config) else [])

    def of_detectors(self, stage: str) -> list[str]:
        """The manifests of a stage that runs once for each trained detector."""
        return [self.manifest(stage, detector) for detector in detectors(self.config)]

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
        return {"drawn": self.config["toy"], "seed": self.config["seed"], "code": fingerprint("sources.toy")}

    def toy_command(self, python: str) -> str:
        """The command line that draws the embedded data set."""
        root, toy, seed = self.config["root"], self.config["toy"], self.config["seed"]
        sizes = f"--train {toy['train']} --val {toy['val']} --seed {seed}"
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
        section = self.config.get(stage, {})
        files = {value: _state(value) for _, value, _ in file_parameters(stage, section) if stage != "ingest"}
        if stage == "categories" and self.config["vocabulary"]:
            files[self.config["vocabulary"]] = _state(self.config["vocabulary"])
        return {
            "stage": stage,
            "section": _WILDCARD.sub(r"<\1>", json.dumps(section, sort_keys=True)),
            "seed": self.config["seed"],
            "shards": self.config["shards"],
            "code": stage_fingerprint(stage, section),
            "files": json.dumps(files, sort_keys=True),
        }

    def command(self, python: str) -> str:
        """The command line of every stage, up to its shard.

        It holds nothing of the configuration, for Snakemake would take any change of it as changed code: that
        travels in the environment, as a file named by its content, so that what one snakemake runs can't be changed by
        another that is started beside it.
        """
        text = json.dumps(self.config, sort_keys=True, indent=1)
        file = Path(self.data) / "configs" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not file.exists():
            write_atomically(file, text)
        os.environ[CONFIG_VARIABLE] = str(file)
        if Path.cwd() != ROOT:
            os.environ["PYTHONPATH"] = str(ROOT)
        return f"{python} -m stages.{{params.stage}} --data {self.data} --threads {{threads}} --log {{log}}"


def _state(path: str) -> str:
    """A quick sign of whether a file changed: its size and time."""
    try:
        status = os.stat(path)
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"
