"""Every stage by its name: the declarations of the scripts in stages/."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pipeline.config import schema
from pipeline.stage import Stage
from schemas.tables import TABLES
from store.fingerprint import ROOT
from store.manifest import is_aside, producer


@cache
def stages() -> dict[str, Stage]:
    """{name: its declaration, a pipeline.stage.Stage} of every script of stages/ that has one, sorted by name.

    Raises ValueError where a declaration does not fit its script, schemas/tables.py or the other stages.
    """
    names = sorted(module.name for module in iter_modules([str(ROOT / "stages")]))
    modules = {name: import_module(f"stages.{name}") for name in names}
    declarations = {name: module.STAGE for name, module in modules.items() if hasattr(module, "STAGE")}
    for name, stage in declarations.items():
        fault = _fault(name, stage, declarations)
        if fault:
            raise ValueError(f"stages/{name}.py: {fault}")
    return declarations


def _fault(script: str, stage: Stage, declarations: dict[str, Stage]) -> str:
    """What is wrong with a declaration; empty where nothing is."""
    if stage.name != script:
        return f"Stage(name={stage.name!r}); a stage has the name of its script"
    unknown = [
        artifact
        for artifact in (*stage.artifacts, *stage.artifacts_of_round_before)
        if artifact not in TABLES and artifact not in declarations and not _is_aside_of(artifact, declarations)
    ]
    if unknown:
        return f"reads {', '.join(unknown)}; neither a table of schemas/tables.py nor a stage has that name"
    tables = {name for name, table in TABLES.items() if table.stage == script}
    differ = (tables ^ set(stage.writes)) - {script}
    if differ:
        written = ", ".join(stage.writes)
        return f"writes {written}; schemas/tables.py says that it writes {', '.join(sorted(tables)) or 'no table'}"
    return ""


def _is_aside_of(artifact: str, declarations: dict[str, Stage]) -> bool:
    return is_aside(artifact) and producer(artifact)[0] in declarations


def summary(stage: str) -> str:
    """What a stage does: the first paragraph of its script's docstring, on one line."""
    paragraph = (import_module(f"stages.{stage}").__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split())


def detectors(config: dict) -> list[str]:
    """The stages that train a detector in this run, in the order of the schema."""
    known = schema()["properties"]["detectors"]["items"]["enum"]
    return [name for name in known if name in config["detectors"] and stages()[name].trains_detector(config)]
