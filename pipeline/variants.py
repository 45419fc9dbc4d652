"""The variants that the tables of the papers compare: each a small file laid over the configured run, for each seed."""

import copy
from collections.abc import Iterator
from pathlib import Path

from snakemake.utils import update_config

from pipeline.config_file import ConfigError, read_yaml, shown


def overlaid(config: dict, *overlays: dict) -> dict:
    """A configuration with the keys of others laid over it, section by section."""
    result = copy.deepcopy(config)
    for overlay in overlays:
        update_config(result, copy.deepcopy(overlay))
    return result


def variants(config: dict) -> Iterator[tuple[str, int, dict]]:
    """(variant, seed, its configuration) of every variant and seed that config's section `tables` asks for.

    A variant is a file of tables.variants: what is laid over the configuration, and `seeds`, how many of tables.seeds
    it is run with (all, where it does not say). tables.overlay is laid over first, for all of them. Runs are named
    RUN.FILE.SEED. Raises ConfigError where a file is none of these.
    """
    section = config["tables"]
    if not section["seeds"]:
        return
    files = sorted(Path(section["variants"]).glob("*.yaml"))
    shared = (read_yaml(Path(section["overlay"]), dict) or {}) if files and section["overlay"] else {}
    for file in files:
        overlay = read_yaml(file, dict) or {}
        count = overlay.pop("seeds", len(section["seeds"]))
        if type(count) is not int or count < 0:
            raise ConfigError(f"{file}: seeds is {shown(count)}, wanted how many of tables.seeds it is run with")
        for seed in section["seeds"][:count]:
            named = {"run": run_name(config["run"], file.stem, seed), "seed": seed, "tables": {"seeds": []}}
            yield file.stem, seed, overlaid(config, shared, overlay, named)


def run_name(run: str, variant: str, seed: int) -> str:
    """The run of a variant with a seed."""
    return f"{run}.{variant}.{seed}"
