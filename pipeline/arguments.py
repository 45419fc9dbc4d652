"""The command line of a stage: what all stages have in common, and a flag for each parameter, explained by the schema."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import check_run_name, checked, load, section_schema
from pipeline.stage import Input, Stage
from store.fingerprint import ROOT
from structures.errors import UserError

CONFIG_VARIABLE = "CAP2MASK_CONFIG"  # folder of the configurations of the snakemake that started the stage, one a run
_MOST_THREADS = 1024  # some stages start as many processes
_PER = {"run": "one job", "scatter": "one job, which writes every shard", "shard": "one job a shard"}
_PER |= {"detector": "one job a trained detector"}


def stage_arguments(stage: Stage) -> argparse.Namespace:
    """The parsed command line, with the checked configuration as `config` and the run that gets the results as `into`.

    Exits with one line where the configuration or a flag is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage.name}",
        description=sys.modules["__main__"].__doc__,
        epilog=f"reads: {_reads(stage)}. writes: {', '.join(stage.writes)}. runs as {_PER[stage.per]}. "
        "parameters default to what --configfile says.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        help="several are laid over each other, as by snakemake (default: config/config.yaml)",
    )
    parser.add_argument("--run", help="name of the run (default: the config's)")
    parser.add_argument(
        "--into",
        help="run that gets the results (default: --run, or <run>-by-hand where a parameter is given here)",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of store, actions and runs")
    if stage.per == "detector":
        parser.add_argument("--detector", dest="shard", default="train_detector", help="default %(default)s")
    else:
        parser.add_argument("--shard", default="all" if stage.per != "shard" else "0", help="default %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    most = "several processes, one each, share the work" if stage.processes else "at most 1"
    parser.add_argument("--gpus", type=int, default=1, help=f"GPUs: {most} (default %(default)s)")
    parser.add_argument("--device", help="auto, cpu or cuda (default: the config's)")
    parser.add_argument("--log", type=Path, help="also write the log to this file")
    parser.add_argument("--recompute", action="store_true", help="run even where the memo holds the result")
    parser.add_argument("--verify", action="store_true", help="check the digests of all inputs before reading")
    group = parser.add_argument_group("parameters")
    for flag, path, rules in _flags(stage):
        kind = rules["type"] if "type" in rules else f"one of {', '.join(filter(None, rules['enum']))}"
        meaning = f"{rules.get('description', '')} ({kind}, default {json.dumps(rules.get('default'))})"
        dest = "p:" + ".".join(path)
        group.add_argument(f"--{flag}", dest=dest, metavar="VALUE", help=meaning.replace("%", "%%"))
    args = parser.parse_args()
    if not args.configfile:
        folder = os.environ.get(CONFIG_VARIABLE)
        here = Path("config", "config.yaml")
        usual = here if here.exists() else ROOT / here
        args.configfile = [Path(folder, f"{args.run}.json") if folder and args.run else usual]
    args.config = _settings(args, stage)
    return args


def _reads(stage: Stage) -> str:
    """The artifacts that a stage reads, those that the configuration decides about marked."""
    marks = {entry.artifact: "?" for entry in stage.reads if isinstance(entry, Input)}
    names = [f"{artifact}{marks.get(artifact, '')}" for artifact in stage.artifacts]
    names += [f"{artifact} of the round before" for artifact in stage.artifacts_of_round_before]
    asked = " (?: where the configuration asks for it)" if marks else ""
    return (", ".join(names) or "nothing of the run") + asked


def _flags(stage: Stage) -> Iterator[tuple[str, tuple[str, ...], dict]]:
    """(flag without its dashes, path in the configuration, rules) of a stage's own parameters and of those it
    shares."""
    for path, rules in _leaves((stage.name,), section_schema(stage.name)):
        yield ".".join(path[1:]).replace("_", "-"), path, rules
    for entry in stage.shares:
        path = tuple(entry.split("."))
        rules = section_schema(path[0])
        for name in path[1:]:
            rules = rules["properties"][name]
        for leaf, leaf_rules in _leaves(path, rules):
            yield ".".join(leaf).replace("_", "-"), leaf, leaf_rules


def _leaves(path: tuple[str, ...], rules: dict) -> Iterator[tuple[tuple[str, ...], dict]]:
    if rules.get("type") != "object":
        yield path, rules
        return
    for name, rule in rules.get("properties", {}).items():
        yield from _leaves((*path, name), rule)


def _settings(args: argparse.Namespace, stage: Stage) -> dict:
    """The configuration file, and the flags over it."""
    try:
        config = load(*args.configfile)
        given = {name[2:]: value for name, value in vars(args).items() if name.startswith("p:") and value is not None}
        for path, value in given.items():
            *above, last = path.split(".")
            section = config
            for name in above:
                section = section.setdefault(name, {})
            section[last] = value  # text, which `checked` reads as what the schema wants
        for name in ("run", "device"):
            if getattr(args, name):
                config[name] = getattr(args, name)
        config = checked(config)
        args.into = args.into or config["run"] + ("-by-hand" if given else "")
        check_run_name(args.into, "--into")
        return _fitting(config, args, stage)
    except UserError as error:
        sys.exit(f"{stage.name}: {error}")


def _fitting(config: dict, args: argparse.Namespace, stage: Stage) -> dict:
    """The configuration. Raises UserError for a shard that the run has not, or more GPUs than the stage can use."""
    if stage.per in ("run", "scatter") and args.shard != "all":
        raise UserError(f"--shard {args.shard}: this stage is one job for all shards; leave --shard out")
    if stage.per == "shard" and args.shard not in map(str, range(config["shards"])):
        raise UserError(
            f"--shard {args.shard}: this run has the shards 0 to {config['shards'] - 1} (config key shards)"
        )
    if args.threads < 1:
        raise UserError(f"--threads {args.threads}: at least 1")
    if args.threads > _MOST_THREADS:
        raise UserError(f"--threads {args.threads}: at most {_MOST_THREADS}")
    if args.gpus < 0:
        raise UserError(f"--gpus {args.gpus}: at least 0")
    if args.gpus > 1 and not stage.processes:
        raise UserError(f"--gpus {args.gpus}: this stage can't share its work; give each shard a GPU of its own")
    return config
