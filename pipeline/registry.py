"""Every stage by its name: the declarations of the scripts in stages/."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pipeline.config import schema
from store.fingerprint import ROOT


@cache
def stages() -> dict:
    """{name: its declaration, a pipeline.stage.Stage} of every script of stages/ that has one, sorted by name."""
    names = sorted(module.name for module in iter_modules([str(ROOT / "stages")]))
    modules = {name: import_module(f"stages.{name}") for name in names}
    return {name: module.STAGE for name, module in modules.items() if hasattr(module, "STAGE")}


def summary(stage: str) -> str:
    """What a stage does: the first paragraph of its script's docstring, on one line."""
    paragraph = (import_module(f"stages.{stage}").__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split())


def detectors(config: dict) -> list[str]:
    """The stages that train a detector in this run, in the order of the schema."""
    known = schema()["properties"]["detectors"]["items"]["enum"]
    return [name for name in known if name in config["detectors"] and stages()[name].trains_detector(config)]
