"""The jobs of a run, as Snakemake plans them: which there are, which are done, and which waits for which."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from graphlib import TopologicalSorter
from types import SimpleNamespace

from store.fingerprint import ROOT
from structures.errors import UserError

_MANIFEST = re.compile(r"/runs/(?P<run>[^/]+)/manifests/(?P<stage>[^/]+)/(?P<part>[^/]+)\.json$")
_HELPERS = ("toy", "overview", "tables")  # rules that are no stages, and take time


@dataclass
class PlannedJob:
    """A job: its rule, run and part (a shard, a detector, or all), whether it is done, and the jobs that it waits for."""

    rule: str
    run: str
    part: str
    done: bool
    waits_for: set[int] = field(default_factory=set)


def planned_job(rule: str, run: str, wildcards: dict) -> PlannedJob:
    """A job that is to run, of its rule and wildcards; run: the configured one. It waits for nothing."""
    part = wildcards.get("shard", wildcards.get("detector", "all"))
    return PlannedJob(rule, wildcards.get("run", run), str(part), done=False)


def planned_jobs(flow, arguments: list[str]) -> list[PlannedJob]:
    """The jobs that snakemake has with these arguments, those that are done as well, none of them run. flow: the workflow
    (pipeline.workflow.Workflow).

    Raises UserError with what snakemake says where it can't plan them.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--summary"]
    asked = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if asked.returncode or not asked.stdout.startswith("output_file"):
        lines = [line for line in asked.stderr.splitlines() if line.strip()]
        raise UserError("snakemake can't plan this run:\n" + "\n".join(lines[-20:]))
    jobs, of_output = [], {}
    together: dict[str, int] = {}  # rules with several outputs are one job
    for row in csv.DictReader(asked.stdout.splitlines(), delimiter="\t"):
        rule, output = row["rule"], row["output_file"]
        manifest = _MANIFEST.search(output)
        if not manifest and rule not in _HELPERS:
            continue
        if rule not in together or manifest:
            together[rule] = len(jobs)
            run, part = (manifest["run"], manifest["part"]) if manifest else (flow.run, "all")
            jobs.append(PlannedJob(rule, run, part, row["plan"] == "no update"))
        of_output[output] = together[rule]
        jobs[together[rule]].done &= row["plan"] == "no update"
    _connect(flow, jobs, of_output)
    return in_order(jobs)


def until(jobs: list[PlannedJob], rules: list[str]) -> list[PlannedJob]:
    """The jobs of some rules and those that they wait for, as snakemake's --until has them (its --summary does not). Raises
    UserError where the run has no such rule."""
    for rule in rules:
        if rule not in {job.rule for job in jobs}:
            raise UserError(f"--until {rule}: this run has no job of that name")
    kept = [number for number, job in enumerate(jobs) if job.rule in rules]
    seen = set(kept)
    while kept:
        before = jobs[kept.pop()].waits_for - seen
        seen |= before
        kept += before
    return in_order([job if number in seen else None for number, job in enumerate(jobs)])


def in_order(jobs: list[PlannedJob | None], *, left: bool = False) -> list[PlannedJob]:
    """The jobs, each behind those that it waits for, numbered anew, without those that are None; left: without those that
    are done, too."""
    graph = {number: job.waits_for for number, job in enumerate(jobs) if job}
    kept = [number for number in TopologicalSorter(graph).static_order() if not (left and jobs[number].done)]
    new = {number: place for place, number in enumerate(kept)}
    return [
        replace(jobs[number], waits_for={new[other] for other in jobs[number].waits_for if other in new})
        for number in kept
    ]


def _connect(flow, jobs: list[PlannedJob], of_output: dict[str, int]) -> None:
    """Fill in what each job waits for."""
    inputs_of = cache(flow.inputs)
    for number, job in enumerate(jobs):
        if job.rule == "toy":
            read: Iterable[str] = ()
        elif job.rule == "overview":
            read = flow.goals("report", "gallery", scores="evaluate")
        elif job.rule == "tables":
            read = flow.scores(None)
        else:
            read = inputs_of(job.rule)(SimpleNamespace(run=job.run, shard=job.part, detector=job.part))
        job.waits_for = {of_output[path] for path in read if path in of_output} - {number}
