"""The command line of a stage: what all stages share, and one flag a parameter, explained by the config's schema."""

import argparse
import json
import os
import sys
from pathlib import Path

import yaml

from pipeline.config import checked, load, section_schema
from store.fingerprint import ROOT
from structures.errors import UserError

CONFIG_VARIABLE = "CAP2MASK_CONFIG"  # folder of the configurations of the snakemake that started the stage, one a run


def stage_arguments(
    stage: str, reads: tuple[str, ...], writes: tuple[str, ...], per: str, team: bool
) -> argparse.Namespace:
    """The parsed command line, with the checked configuration as `config` and the run that gets the results as `into`.

    Exits with one line where the configuration or a flag is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description=sys.modules["__main__"].__doc__,
        epilog=f"reads: {', '.join(reads) or 'nothing of the run'}. "
        f"writes: {', '.join(writes)}. parameters default to what --configfile says.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--configfile", type=Path, help="default config/config.yaml")
    parser.add_argument("--run", help="name of the run (default: the config's)")
    parser.add_argument(
        "--into",
        help="run that gets the results (default: --run, or <run>-by-hand where a parameter is given here)",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of store, actions and runs")
    if per == "detector":
        parser.add_argument("--detector", dest="shard", default="train_detector", help="default %(default)s")
    else:
        parser.add_argument("--shard", default="all" if per != "shard" else "0", help="default %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    if team:
        parser.add_argument("--gpus", type=int, default=1, help="processes, one a GPU (default %(default)s)")
    parser.add_argument("--device", help="auto, cpu or cuda (default: the config's)")
    parser.add_argument("--log", type=Path, help="also write the log to this file")
    parser.add_argument("--recompute", action="store_true", help="run even where the memo holds the result")
    parser.add_argument("--verify", action="store_true", help="check the digests of all inputs before reading")
    group = parser.add_argument_group("parameters")
    for name, rules in _flat_parameters(section_schema(stage)):
        kind = rules["type"] if "type" in rules else f"one of {', '.join(rules['enum'])}"
        about = f"{rules.get('description', '')} ({kind}, default {json.dumps(rules.get('default'))})".replace(
            "%", "%%"
        )
        group.add_argument(f"--{name.replace('_', '-')}", dest=f"p:{name}", metavar="VALUE", help=about)
    args = parser.parse_args()
    if not args.configfile:
        folder = os.environ.get(CONFIG_VARIABLE)
        args.configfile = Path(folder, f"{args.run}.json") if folder and args.run else ROOT / "config" / "config.yaml"
    args.config = _settings(args, stage)
    return args


def flatten(params: dict, prefix: str = ""):
    """(dotted name, value) of every parameter of a section."""
    for name, value in params.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _flat_parameters(rules: dict, prefix: str = ""):
    for name, rule in rules.get("properties", {}).items():
        if rule.get("type") == "object":
            yield from _flat_parameters(rule, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", rule


def _settings(args: argparse.Namespace, stage: str) -> dict:
    """The configuration file, and the flags over it."""
    try:
        config = load(args.configfile)
        given = {name[2:]: value for name, value in vars(args).items() if name.startswith("p:") and value is not None}
        for name, value in given.items():
            *above, last = name.split(".")
            section = config.setdefault(stage, {})
            for part in above:
                section = section.setdefault(part, {})
            section[last] = yaml.safe_load(value)
        for name in ("run", "device"):
            if getattr(args, name):
                config[name] = getattr(args, name)
        args.into = args.into or config["run"] + ("-by-hand" if given else "")
        return checked(config)
    except UserError as error:
        sys.exit(f"{stage}: {error}")
