"""What the Snakefile asks for: manifests as files, a stage's params, the checked configuration."""

import hashlib
import json
import os
import shlex
from pathlib import Path

from store.arguments import CONFIG_VARIABLE
from store.blobs import write_atomically
from store.config import checked
from store.fingerprint import ROOT, fingerprint


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
        """What `all` asks for: everything where there is ground truth to measure with, else the trained detector."""
        splits = [self.config["ingest"][split] for split in ("train", "val")]
        measured = all(split["instances"] for split in splits)
        return [self.manifest("report" if measured else "train_detector")]

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
        root = Path(self.config["root"])
        files = [self.config["ingest"][split][kind] for split in ("train", "val") for kind in ("instances", "captions")]
        return [str(root / file) for file in files if file]

    def params(self, stage: str) -> dict:
        """What Snakemake compares: the stage's section, the seed, its code's fingerprint, its weight files' state."""
        section = self.config.get(stage, {})
        files = {value: _state(value) for value in section.values() if isinstance(value, str) and "/" in value}
        files[self.config["vocabulary"]] = _state(self.config["vocabulary"])
        return {
            "stage": stage,
            "section": json.dumps(section, sort_keys=True),
            "seed": self.config["seed"],
            "shards": self.config["shards"],
            "code": fingerprint(f"stages.{stage}"),
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
