"""Manifests: what a stage wrote, and of what, without time, host or path, so equal runs give equal manifests."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from schemas.tables import TABLES
from store.blobs import canonical_json
from structures.errors import UserError


@dataclass(frozen=True)
class Output:
    """One file of a stage. path is relative to the run's folder, as "gradcam/0.parquet"."""

    path: str
    digest: str
    bytes: int
    rows: int | None = None

    @property
    def artifact(self) -> str:
        return self.path.split("/")[0]

    @property
    def shard(self) -> str:
        return Path(self.path).stem

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix


@dataclass(frozen=True)
class Manifest:
    """What a stage wrote (outputs), of what (inputs, files, params, seed, fingerprint), and how many rows (counts)."""

    stage: str
    shard: str
    key: str
    fingerprint: str
    seed: int | None
    params: dict
    inputs: list[dict] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    counts: dict = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        content = json.loads(text)
        content["outputs"] = [Output(**output) for output in content["outputs"]]
        return cls(**content)


def producer(artifact: str) -> tuple[str, str]:
    """The stage that makes an artifact (a table, or a file named after the stage), and "shard", "detector" or "run"."""
    table = TABLES.get(artifact)
    return (table.stage, table.per) if table else (artifact, "run")


class Run:
    """The folder of one run: manifests, and links into the store."""

    def __init__(self, data: Path, name: str):
        self.data, self.name = data, name
        self.root = data / "runs" / name

    def manifest_path(self, stage: str, shard: str) -> Path:
        return self.root / "manifests" / stage / f"{shard}.json"

    def read_manifest(self, stage: str, shard: str) -> Manifest | None:
        try:
            return Manifest.from_json(self.manifest_path(stage, shard).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            path = self.manifest_path(stage, shard)
            raise UserError(f"{path} is damaged ({error}); delete it and run snakemake again") from error

    def manifests(self) -> list[Manifest]:
        """Every manifest of the run, sorted by stage and shard."""
        files = sorted((self.root / "manifests").glob("*/*.json"))
        return [self.read_manifest(file.parent.name, file.stem) for file in files]

    def manifests_of(self, artifact: str, shard: str, parts: dict[str, list[str]]) -> list[Manifest]:
        """The manifests of what a job of `shard` ("all" or a number) reads of an artifact.

        parts: the names of the run's shards, and of the run's detectors, as {"shard": [...], "detector": [...]}.

        Raises UserError naming the rule to run where a manifest is missing.
        """
        stage, per = producer(artifact)
        wanted = [shard] if per == "shard" and shard != "all" else None
        manifests = []
        whole = per == "run" or self.manifest_path(stage, "all").exists()
        names = ["all"] if whole else wanted or parts[per]
        for name in names:
            manifest = self.read_manifest(stage, name)
            if manifest is None:
                raise UserError(
                    f"{self.manifest_path(stage, name)} is missing: run `snakemake --cores all --until {stage}` first"
                )
            manifests.append(manifest)
        return manifests


def outputs_among(manifests: list[Manifest], artifact: str, shard: str) -> list[Output]:
    """The files of an artifact in manifests that a job of `shard` ("all" or a number) reads."""
    wanted = [shard] if producer(artifact)[1] == "shard" and shard != "all" else None
    outputs = [output for manifest in manifests for output in manifest.outputs if output.artifact == artifact]
    outputs = [output for output in outputs if "/_" not in output.path]
    return [output for output in outputs if wanted is None or output.shard in wanted]


def action_key(stage: str, fingerprint: str, params: dict, inputs: dict) -> str:
    """The memo's key: equal code, parameters and contents of inputs have the same one."""
    text = canonical_json({"stage": stage, "code": fingerprint, "params": params, "inputs": inputs})
    return hashlib.sha256(text.encode()).hexdigest()
