"""Three stages in a row whose work takes milliseconds, done by the pipeline's own execution: a training that keeps
checkpoints, a table of what it learned, and JSON of that. What crashes, kills and flips are tried on thousands of times.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.config import checked
from pipeline.execute import execute
from pipeline.registry import stages
from store.manifest import Run
from training.loop import train

STEPS = 5


def _learn(job) -> None:
    """A training of five steps, each of which keeps a checkpoint."""
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)

    def step(number: int) -> dict:
        return {"loss": (network(torch.full((1, 4), 1.0 + number)) - 1).square().mean()}

    schedule = {"steps": STEPS, "lr_factor": lambda _: 1.0, "scratch": job.scratch, "save_every": 1}
    job.save_curve(train(network, optimizer, step, description="training", **schedule))
    job.save_checkpoint(network.state_dict(), {"steps": STEPS})


def _tabulate(job) -> None:
    """A row for every number of the checkpoint."""
    tensors, _ = job.checkpoint("pretrain_backbone")
    with job.writer("embeddings") as writer:
        for name, tensor in sorted(tensors.items()):
            for place, values in enumerate(tensor.reshape(-1, 4)):
                writer.add(category=f"{name} {place}", group="base", vector=values.tolist())


def _tell(job) -> None:
    """The rows as JSON."""
    rows = [(row["category"], row["vector"].tolist()) for row in job.rows("embeddings")]
    with job.file("pseudo_labels/all.json") as draft:
        draft.write_text(json.dumps(rows), encoding="utf-8")


STAGES = {
    "pretrain_backbone": (replace(stages()["pretrain_backbone"], gpu=0, reads=()), _learn),
    "embed_text": (replace(stages()["embed_text"], gpu=0, reads=("pretrain_backbone",), shares=()), _tabulate),
    "pseudo_labels": (replace(stages()["pseudo_labels"], reads=("embeddings",)), _tell),
}


def do(data: Path, name: str, run: str = "r", **flags) -> None:
    """One execution of a stage, as by its command line."""
    stage, work = STAGES[name]
    config = checked({"run": run, "root": str(data)})
    usual = {"data": data, "into": run, "shard": "all", "threads": 1, "gpus": 1, "recompute": False, "verify": False}
    execute(stage, work, argparse.Namespace(**usual | flags, config=config))


def do_all(data: Path, run: str = "r") -> None:
    """What snakemake does: every stage whose manifest is not there, in order."""
    for name in STAGES:
        if not Run(data, run).manifest_path(name, "all").exists():
            do(data, name, run)


def results(data: Path, run: str = "r") -> dict[str, bytes]:
    """The bytes of all manifests, and of all that their links lead to, by path below the run's folder."""
    root = data / "runs" / run
    manifests = Run(data, run).manifests()
    files = [root / "manifests" / manifest.stage / "all.json" for manifest in manifests]
    files += [root / output.path for manifest in manifests for output in manifest.outputs]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
