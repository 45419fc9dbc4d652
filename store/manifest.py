"""Manifests: what a stage wrote, and of what, without time, host or path, so equal runs give equal manifests.

A manifest's last line is its seal, the digest of all other lines: one in which a letter was changed is not believed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from schemas.tables import TABLES
from store.blobs import canonical_json
from structures.errors import UserError

_SEAL = "seal"
ASIDES = ("/_rejects", "/_curve")  # of a stage: rows that it could not use, its training curve


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
        """As text, sealed."""
        lines = json.dumps(asdict(self), sort_keys=True, indent=1).removesuffix("\n}")
        return f'{lines},\n "{_SEAL}": "{_digest(lines)}"\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """What to_json wrote. Raises Unsealed where there is no seal, Damaged where it is another text's."""
        lines, found, _ = text.rpartition(f',\n "{_SEAL}": "')
        if not found:
            raise Unsealed("has no seal, as earlier versions of this project wrote it")
        if text != f'{lines}{found}{_digest(lines)}"\n}}\n':
            raise Damaged("is damaged (its seal is that of another text)")
        content = json.loads(f"{lines}\n}}")
        content["outputs"] = [Output(**output) for output in content["outputs"]]
        return cls(**content)

    @property
    def input_digests(self) -> set[str]:
        """The digests of all tables and checkpoints that it was made of."""
        return {digest for row in self.inputs for digest in row["digests"]}


class Damaged(ValueError):
    """A text that no manifest has."""


class Unsealed(Damaged):
    """A manifest without a seal, as earlier versions wrote them."""


def read_sealed(path: Path, **wanted: str) -> Manifest:
    """The manifest in a file. wanted: fields that it must have, for a file may lie in another's place. Raises Damaged, or
    FileNotFoundError."""
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise Damaged(f"is damaged ({error})") from error
    except IsADirectoryError as error:
        raise Damaged("is a folder in the place of a file") from error
    for name, value in wanted.items():
        if getattr(manifest, name) != value:
            raise Damaged(f"is in the place of another ({name} {getattr(manifest, name)}, not {value})")
    return manifest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_aside(artifact: str) -> bool:
    """Whether an artifact is what a stage sets aside, which it need not do: STAGE/_rejects, STAGE/_curve."""
    return artifact.endswith(ASIDES)


def producer(artifact: str) -> tuple[str, str]:
    """The stage that makes an artifact (a table, a file named after the stage, or what a stage sets aside), and "shard",
    "detector" or "run"."""
    table = TABLES.get(artifact)
    if is_aside(artifact):
        return artifact.split("/")[0], "shard"  # of a stage that runs once there is one manifest for all shards
    return (table.stage, table.per) if table else (artifact, "run")


class Run:
    """The folder of one run: manifests, and links into the store."""

    def __init__(self, data: Path, name: str):
        self.data, self.name = data, name
        self.root = data / "runs" / name

    def manifest_path(self, stage: str, shard: str) -> Path:
        return self.root / "manifests" / stage / f"{shard}.json"

    def read_manifest(self, stage: str, shard: str) -> Manifest | None:
        """A manifest, or None where there is none. Raises UserError where it is damaged, another's, or unsealed."""
        path = self.manifest_path(stage, shard)
        try:
            return read_sealed(path, stage=stage, shard=shard)
        except FileNotFoundError:
            return None
        except Damaged as error:
            raise UserError(f"{path} {error}: run `python -m store verify --repair`, then snakemake again") from error

    def manifest_files(self) -> list[Path]:
        """The files of the run's manifests, sorted by stage and shard."""
        return sorted((self.root / "manifests").glob("*/*.json"))

    def manifests(self) -> list[Manifest]:
        """Every manifest of the run, sorted by stage and shard. Raises UserError where one is damaged."""
        read = [self.read_manifest(file.parent.name, file.stem) for file in self.manifest_files()]
        return [manifest for manifest in read if manifest is not None]

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
    """The files of an artifact in manifests that a job of `shard` ("all" or a number) reads. Raises UserError where a
    manifest has none that it must have."""
    if is_aside(artifact):
        return [out for manifest in manifests for out in manifest.outputs if out.path.startswith(f"{artifact}/")]
    wanted = [shard] if producer(artifact)[1] == "shard" and shard != "all" else None
    outputs = []
    for manifest in manifests:
        of_artifact = [out for out in manifest.outputs if out.artifact == artifact and "/_" not in out.path]
        read = [output for output in of_artifact if wanted is None or output.shard in wanted]
        if not read:
            raise UserError(
                f"{manifest.stage} {manifest.shard} made no {artifact}{f' of shard {shard}' if of_artifact else ''}, which "
                f"is read here: run `snakemake --cores all --until {manifest.stage}` with this configuration first"
            )
        outputs += read
    return outputs


def memo_path(data: Path, key: str) -> Path:
    """Where the memo of an action lies: the manifest of whoever did it first."""
    return data / "actions" / f"{key}.json"


def action_path(scratch: Path) -> Path:
    """Where an action that is under way says what it is made of: a manifest without outputs in its scratch folder."""
    return scratch / "action.json"


def action_key(stage: str, fingerprint: str, params: dict, inputs: dict) -> str:
    """The memo's key: equal code, parameters and contents of inputs have the same one."""
    text = canonical_json({"stage": stage, "code": fingerprint, "params": params, "inputs": inputs})
    return hashlib.sha256(text.encode()).hexdigest()
