"""The variants that the tables of the papers compare: each a small file laid over the configured run, for every seed."""

import copy
from pathlib import Path

from pipeline.config import read_keys


def overlaid(config: dict, overlay: dict) -> dict:
    """A configuration with the keys of another laid over it, section by section."""
    result = copy.deepcopy(config)
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = overlaid(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def variants(config: dict):
    """(variant, seed, its configuration) of every variant and seed that config's section `tables` asks for.

    A variant is a file of tables.variants: what is laid over the configuration, and `seeds`, how many of tables.seeds it is
    run with (all, where it does not say). tables.overlay is laid over first, for all of them. Runs are named RUN.FILE.SEED.
    """
    section = config["tables"]
    if not section["seeds"]:
        return
    files = sorted(Path(section["variants"]).glob("*.yaml"))
    shared = (read_keys(Path(section["overlay"])) or {}) if files and section["overlay"] else {}
    for file in files:
        own = read_keys(file) or {}
        count = own.pop("seeds", len(section["seeds"]))
        for seed in section["seeds"][:count]:
            named = {"run": run_name(config["run"], file.stem, seed), "seed": seed, "tables": {"seeds": []}}
            yield file.stem, seed, overlaid(overlaid(overlaid(config, shared), own), named)


def run_name(run: str, variant: str, seed: int) -> str:
    """The run of a variant with a seed."""
    return f"{run}.{variant}.{seed}"
