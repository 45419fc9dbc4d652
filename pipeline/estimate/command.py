"""python -m pipeline estimate: what a run will take, as a table, before it starts."""

import argparse
import os

import pandas as pd

from pipeline.config import checked, load
from pipeline.environment import device_name
from pipeline.estimate.amounts import amount, duration
from pipeline.estimate.disk import free_space
from pipeline.estimate.jobs import in_order, planned_jobs, until
from pipeline.estimate.measured import measured_jobs
from pipeline.estimate.paces import Paces
from pipeline.estimate.plan import Estimate, Machine, Row, estimate
from pipeline.estimate.sizes import count
from pipeline.gpus import visible_gpus
from pipeline.registry import stages
from pipeline.workflow import Workflow
from structures.errors import UserError

_COLUMNS = ("stage", "jobs", "units", "time", "GPU hours", "disk", "memory", "GPU memory", "rates")
_MANY_RUNS = 4  # from so many on a stage's rows are one


def show(args: argparse.Namespace) -> None:
    """Print what the run of the command line will take. Raises UserError."""
    _check(args)
    flow = Workflow(_config(args), files=map(str, args.configfile))
    jobs = planned_jobs(flow, _snakemake_arguments(args))
    if args.until:
        jobs = until(jobs, args.until)
    left = in_order(jobs, left=not args.all)
    if not left:
        print("nothing is left to do; --all counts what is done, too")
        return
    ingested = any(job.rule == "ingest" and job.done for job in jobs) or all(job.rule != "ingest" for job in jobs)
    given = {name: getattr(args, name) for name in ("images", "val_images", "captions", "pairs")}
    counted = count(flow.config, args.data, ingested=ingested, given=given)
    machine = _machine(args, flow.config)
    paces = Paces(measured_jobs(args.data), os.cpu_count() or 1)
    found = estimate(left, flow.configs, counted.sizes, paces, machine)
    done = sum(job.done for job in jobs) if not args.all else 0
    print(_heading(counted, done))
    print(table(found, flow.run))
    print()
    print("\n".join(_sums(found, machine, args)))


def _check(args: argparse.Namespace) -> None:
    """Raises UserError for a number that none can be."""
    for name in ("cores", "gpus", "price", "cpu_price", "images", "val_images", "captions", "pairs"):
        value, least = getattr(args, name), 1 if name == "cores" else 0
        if value is not None and not value >= least:
            raise UserError(f"--{name.replace('_', '-')} {value}: at least {least}")


def _config(args: argparse.Namespace) -> dict:
    """The configuration with what --config lays over it. Raises UserError."""
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    config = load(*args.configfile)
    try:
        update_config(config, parse_config(args.config))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--config {' '.join(args.config)}: {error}") from error
    return checked(config)


def _snakemake_arguments(args: argparse.Namespace) -> list[str]:
    words = [*args.targets, "--configfile", *map(str, args.configfile)]
    return words + (["--config", *args.config] if args.config else [])


def _machine(args: argparse.Namespace, config: dict) -> Machine:
    """The machine that is planned for. GPUs that are told and not here are of a kind that nobody knows."""
    here = device_name(config["device"])
    if args.gpus == 0 or (args.gpus is None and here == "cpu"):
        return Machine(args.cores, 0, "cpu")
    return Machine(args.cores, args.gpus or len(visible_gpus()) or 1, here if here != "cpu" else "cuda")


def _heading(counted, done: int) -> str:
    sizes = counted.sizes
    lines = [
        f"{sizes.train:,.0f} training and {sizes.val:,.0f} validation pictures, {sizes.captions:,.0f} captions, "
        f"{sizes.pairs:,.0f} pairs ({'; '.join(counted.told)})"
    ]
    lines += [f"{done} jobs are done already and are not counted (--all counts them)"] if done else []
    return "\n".join(lines) + "\n"


def table(found: Estimate, run: str) -> str:
    """The rows in Markdown, without the columns of which nothing is known. run: the run whose name its rows need not tell."""
    many = len({row.run for row in found.rows}) >= _MANY_RUNS
    cells = [
        (
            row.stage if many or row.run == run else f"{row.stage}, {row.run.removeprefix(run + '.')}",
            f"{row.jobs:,}",
            f"{row.units:,.0f} {row.unit}",
            "?" if row.unknown else duration(row.seconds),
            f"{row.gpu_seconds / 3600:.2f}" if row.gpu_seconds else "",
            amount(row.size) if row.size else "",
            _memory(row),
            f"{row.gpu_memory:.2g} GiB" if row.gpu_memory else "",
            row.source,
        )
        for row in (_by_stage(found.rows) if many else found.rows)
    ]
    gpu_hours = sum(row.gpu_seconds for row in found.rows) / 3600
    cells.append(
        (
            "all",
            f"{sum(row.jobs for row in found.rows):,}",
            "",
            duration(sum(row.seconds for row in found.rows)),
            f"{gpu_hours:.2f}" if gpu_hours else "",
            amount(found.size),
            "",
            "",
            "",
        )
    )
    frame = pd.DataFrame(cells, columns=_COLUMNS)
    return frame.loc[:, (frame != "").any()].to_markdown(index=False, disable_numparse=True)


def _memory(row: Row) -> str:
    if row.memory:
        return amount(row.memory * 2**20)
    return f"({amount(row.asked * 2**20)})" if row.asked else ""


def _by_stage(rows: list[Row]) -> list[Row]:
    """One row a stage, of all runs together."""
    merged: dict[str, Row] = {}
    for row in rows:
        into = merged.setdefault(row.stage, Row(row.stage, row.run, row.unit))
        for name in ("jobs", "units", "seconds", "gpu_seconds", "core_seconds", "size"):
            setattr(into, name, getattr(into, name) + getattr(row, name))
        into.memory, into.asked = max(into.memory or 0, row.memory or 0) or None, row.asked
        into.gpu_memory = max(into.gpu_memory or 0, row.gpu_memory or 0) or None
        into.unknown |= row.unknown
        into.pace, into.differing = row.pace, row.differing
    return list(merged.values())


def _sums(found: Estimate, machine: Machine, args: argparse.Namespace) -> list[str]:
    """Lines on time, disk, memory and cost."""
    gpus = f" and {machine.gpus} GPU{'s' * (machine.gpus > 1)}" if machine.gpus else ""
    lines = [f"time on {machine.cores} cores{gpus}: {duration(found.seconds)}"]
    free = free_space(args.data)
    lines.append(
        f"disk: {amount(found.size)}, and {amount(found.under_way)} while the largest training lasts; {amount(free)} are free"
    )
    if found.size + found.under_way > free:
        lines.append("THIS DOES NOT FIT: free some space, or put data/ on a larger disk (a link will do)")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines.append(
        f"memory: this machine has {amount(memory)}; in parentheses, what a stage asks a cluster for, where nothing was measured"
    )
    too_large = sorted({row.stage for row in found.rows if (row.memory or 0) * 2**20 > memory})
    if too_large:
        lines.append(f"THESE DO NOT FIT INTO THE MEMORY: {', '.join(too_large)}")
    unknown = sorted({row.stage for row in found.rows if row.unknown})
    if unknown:
        lines.append(f"not counted, for nothing is known of their speed here: {', '.join(unknown)}")
    if machine.gpus > 1:
        shared = sorted({row.stage for row in found.rows if row.stage in stages() and stages()[row.stage].processes})
        named = " ".join(f"{stage}:gpu={machine.gpus}" for stage in shared)
        lines.append(f"trainings are spread over the GPUs: --resources gpu={machine.gpus} --set-resources {named}")
    gpu_hours = sum(row.gpu_seconds for row in found.rows) / 3600
    core_hours = sum(row.core_seconds for row in found.rows) / 3600
    costs = []
    if args.price is not None:
        costs.append((gpu_hours * args.price, f"{gpu_hours:.2f} GPU hours at {args.price:g}"))
    if args.cpu_price is not None:
        costs.append((core_hours * args.cpu_price, f"{core_hours:.2f} core hours at {args.cpu_price:g}"))
    if costs:
        lines.append(f"cost: {sum(cost for cost, _ in costs):,.2f} ({', '.join(of for _, of in costs)})")
    return lines
