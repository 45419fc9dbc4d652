"""What `snakemake -n` takes for a run of many shards, beside an empty workflow of the same jobs and edges.

    python -m benchmarks.dry_run --shards 1000 [--configfile config/coco.yaml]

Each is timed where nothing is done yet, where half of the jobs are done, and where nothing is left to do, in a folder of its
own. The empty workflow has a rule a stage and run, which names plain files: no parameters, no resources, no logs. What it takes is
Snakemake's own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import yaml
from snakemake.utils import update_config

from benchmarks.made_results import make_results
from pipeline.registry import stages
from pipeline.workflow import Workflow
from store.fingerprint import ROOT

STATES = ("nothing is done", "half is done", "all is done")
# The last onstart counts: it runs before the first job, and none does.
RECORDING = """
include: {snakefile!r}
onstart:
    for job in list(workflow.dag.jobs):
        workflow.async_run(workflow.persistence.finished(job))
    import os
    os._exit(0)
"""


def order() -> dict[str, str]:
    """The Snakefile's table of stages."""
    tables = (ROOT / "Snakefile").read_text(encoding="utf-8").split("\nDATA_SET", 1)[1].split("\nORDER", 1)[0]
    namespace: dict = {}
    exec(f"DATA_SET{tables}", namespace)
    return {stage: edges for name, table in namespace.items() if name.isupper() for stage, edges in table.items()}


class Plan:
    """The jobs of a configured run behind its goals, by their manifests, in the order of the work.

    inputs: {manifest: the manifests that its job reads}.
    """

    def __init__(self, config: dict):
        flow = Workflow(config, order())
        self.goals = flow.goals("report", "gallery", scores="evaluate", exports="export", model="export_model")
        self.overview = flow.overview("")
        self.shards = flow.config["shards"]
        self.inputs: dict[str, list[str]] = {}
        self._functions = {stage: flow.inputs(stage) for stage in stages() if stage != "ingest"}
        inputs: dict[str, list[str]] = {}
        waiting = [(goal, False) for goal in reversed(self.goals)]
        while waiting:
            manifest, is_ready = waiting.pop()
            if is_ready:
                self.inputs[manifest] = inputs[manifest]
            elif manifest not in inputs:
                inputs[manifest] = self._read_by(manifest)
                waiting += [(manifest, True), *((before, False) for before in inputs[manifest])]

    def _read_by(self, manifest: str, shard: str = "") -> list[str]:
        """What the job of a manifest reads; shard: as if it were of that one."""
        run, _, stage, part = Path(manifest).with_suffix("").parts[-4:]
        wildcards = SimpleNamespace(run=run, shard=shard or part, detector=part)
        return self._functions[stage](wildcards) if stage in self._functions else []

    def empty_workflow(self) -> str:
        """A Snakefile of the same jobs and edges: a rule for all shards of a stage in a run, with plain names of files."""
        rules = {}
        for manifest in self.inputs:
            file = Path(manifest)
            split = stages()[file.parent.name].per == "shard"
            rules[str(file.with_stem("{shard}") if split else file)] = self._read_by(manifest, "{shard}" * split)
        text = f"rule all:\n    input: {self.goals}\n"
        for number, (output, inputs) in enumerate(rules.items()):
            text += f"rule r{number}:\n    input: {inputs}\n    output: {output!r}\n    shell: 'true'\n"
        return text

    @property
    def edges(self) -> int:
        return sum(map(len, self.inputs.values()))


class Place:
    """A folder in which Snakemake plans a run as it does in a clone, and in a folder of its own the empty workflow."""

    def __init__(self, folder: Path, configfile: Path, shards: int):
        config = yaml.safe_load(configfile.read_text(encoding="utf-8"))
        update_config(config, {"shards": shards, "tables": {"seeds": []}})
        for name in ("weights", "splits"):
            (folder / "data").mkdir(exist_ok=True)
            (folder / "data" / name).symlink_to(ROOT / "data" / name)
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        os.chdir(folder)
        self.folder, self.plan = folder, Plan(config)
        self.empty = folder / "empty"
        self.empty.mkdir()
        (self.empty / "empty").write_text(self.plan.empty_workflow(), encoding="utf-8")

    def make_all(self) -> None:
        """Let all be done, in the order of the work."""
        make_results(Path("data"), map(Path, self.plan.inputs), self.plan.shards)
        for manifest in self.plan.inputs:
            (self.empty / manifest).parent.mkdir(parents=True, exist_ok=True)
            (self.empty / manifest).write_bytes(Path(manifest).read_bytes())
        overview = Path(self.plan.overview)
        (overview / "pictures").mkdir(parents=True)
        for name in ("scores.csv", "labels.csv", "costs.csv", "costs.js"):
            (overview / name).touch()
        for place in ("ours", "empty"):
            self.snakemake(place, "all", "--forceall", recording=True)

    def forget_half(self) -> None:
        """Let the later half of the work be left."""
        for manifest in list(self.plan.inputs)[len(self.plan.inputs) // 2 :]:
            Path(manifest).unlink()
            (self.empty / manifest).unlink()

    def snakemake(self, place: str, *words: str, recording: bool = False) -> tuple[float, int, int]:
        """Run it on "ours" or the "empty" workflow: seconds of a processor, MiB, and the jobs that it names. recording: only
        note of every job what Snakemake notes of those that have ended."""
        folder, snakefile = (self.empty, "empty") if place == "empty" else (self.folder, str(ROOT / "Snakefile"))
        if recording:
            (folder / "recording").write_text(RECORDING.format(snakefile=snakefile), encoding="utf-8")
            snakefile = "recording"
        command = [sys.executable, "-m", "snakemake", "--cores", "all", "--snakefile", snakefile, *words]
        command += ["--configfile", "config.yaml"] if place == "ours" else []
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with tempfile.TemporaryFile("w+") as output:
            running = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
            _, status, usage = os.wait4(running.pid, 0)
            running.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read()
        if running.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{text[-3000:]}")
        jobs = [int(line.split()[1]) for line in text.splitlines() if line.startswith("total ")]
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, jobs[0] if jobs else 0


def measure(configfile: Path, shards: int) -> list[dict]:
    """A row for each state of a run."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), configfile, shards)

        def row(state: str) -> None:
            ours, mib, jobs = place.snakemake("ours", "-n")
            empty, empty_mib, empty_jobs = place.snakemake("empty", "-n")
            sizes = {"shards": shards, "jobs": len(place.plan.inputs), "edges": place.plan.edges}
            measured.append(
                {"state": state, **sizes, "to do": jobs, "seconds": ours, "MiB": mib}
                | {"empty, to do": empty_jobs, "empty, seconds": empty, "empty, MiB": empty_mib}
            )
            print(json.dumps(measured[-1]), file=sys.stderr, flush=True)

        row(STATES[0])
        place.make_all()
        row(STATES[2])
        place.forget_half()
        row(STATES[1])
        os.chdir(ROOT)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[1000])
    parser.add_argument("--configfile", type=Path, default=ROOT / "config" / "coco.yaml")
    args = parser.parse_args()
    rows = [row for shards in args.shards for row in measure(args.configfile.resolve(), shards)]
    print(pd.DataFrame(rows).round(1).to_markdown(index=False))


if __name__ == "__main__":
    main()
