"""What each stage's result depends on, read from the stages' own declarations: which runs can share a result.

Two runs share a stage where all that its result is made of is configured alike: its section, its seed where it draws random
numbers, and whatever precedes it.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from pipeline.config import detectors, leaves_out
from store.blobs import canonical_json
from store.fingerprint import ROOT
from store.manifest import producer

_DECLARED = ("reads", "per", "random")
_SHARED = ("root", "vocabulary", "shards", "device", "max_reject_fraction")


@cache
def declaration(stage: str) -> dict:
    """What a stage's module says in Stage(...): reads, per, random."""
    file = ROOT / "stages" / f"{stage}.py"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Stage":
            return {
                keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg in _DECLARED
            }
    raise ValueError(f"{file} declares no Stage")


def parents(stage: str, config: dict) -> list[str]:
    """The stages whose results a stage reads under a configuration, in the order of its declaration."""
    artifacts = [name for name in declaration(stage).get("reads", ()) if not leaves_out(config, stage, name)]
    return list(dict.fromkeys(producer(artifact)[0] for artifact in artifacts))


def signature(stage: str, config: dict, part: str = "all", known: dict | None = None) -> str:
    """What a stage's result is made of, as one hash.

    part: the detector, for a stage that runs once for each; known: signatures of this configuration found before.
    """
    known = {} if known is None else known
    if (stage, part) not in known:
        known[stage, part] = _signature(stage, config, part, known)
    return known[stage, part]


def _signature(stage: str, config: dict, part: str, known: dict) -> str:
    about = {
        "stage": stage,
        "section": config.get(stage, {}),
        "seed": config["seed"] if declaration(stage).get("random") else None,
        "shared": {name: config[name] for name in _SHARED},
    }
    if stage == "ingest":
        about["toy"] = config["toy"]
    if declaration(stage).get("per") == "detector":
        about["before"] = [signature(name, config, known=known) for name in (*parents(stage, config), part)]
    else:
        of_detectors = {"detect": detectors(config)}
        about["before"] = [
            [signature(name, config, detector, known) for detector in of_detectors.get(name, ["all"])]
            for name in parents(stage, config)
        ]
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()


def homes(configs: dict[str, dict], stages: list[str]) -> dict[str, dict[str, str]]:
    """{run: {stage: run that makes it}}: of all runs with one signature the first one makes a stage's result.

    configs: {run: configuration}. A stage that runs once a detector is made by the run itself.
    """
    first: dict[str, str] = {}
    made: dict[str, dict[str, str]] = {}
    for run, config in configs.items():
        made[run], known = {}, {}
        for stage in stages:
            if declaration(stage).get("per") == "detector":
                made[run][stage] = run
            else:
                made[run][stage] = first.setdefault(signature(stage, config, known=known), run)
    return made


def stage_names() -> list[str]:
    """Every module of stages/ that declares a Stage."""
    files = sorted(Path(ROOT / "stages").glob("*.py"))
    return [file.stem for file in files if "STAGE = Stage(" in file.read_text(encoding="utf-8")]
