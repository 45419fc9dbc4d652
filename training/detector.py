"""How every detector is trained: one schedule, on one or many GPUs, in one or several parts of a batch."""

from collections.abc import Callable

import numpy as np
import torch

from pipeline.job import Job
from training.loop import autocast, make_optimizer, step_seed, train, warmup_steps


def train_detector(
    job: Job,
    model: torch.nn.Module,
    text: torch.Tensor,
    batches: Callable,
    *,
    description: str,
    faster: dict | None = None,
    **changed,
) -> list:
    """Train `model` by its losses(images, targets, text) as the stage's parameters say; the curve. What else than losses
    ("loss…") they return is recorded.

    batches(step): a list of (picture [3, h, w], target), this process's part of the step's batch; it may draw from
    torch's global generator, which is set for each part of each step, as torchvision's samplers do. faster: as for
    make_optimizer; changed: arguments of training.loop.train that are not as the parameters say.
    """
    p = job.params
    model.to(memory_format=torch.channels_last)  # what convolutions are fastest in, on processors and on GPUs

    def take_step(step: int, part: int = 0) -> dict:
        torch.manual_seed(step_seed(job.seed, step, part, job.team.rank))
        batch = batches(step)
        images = [picture.to(job.device, non_blocking=True) for picture, _ in batch]
        targets = [
            {key: value.to(job.device, non_blocking=True) for key, value in target.items()} for _, target in batch
        ]
        with autocast(job.device, p.precision):
            losses = model.losses(images, targets, text)
        return {"loss": sum(value for name, value in losses.items() if name.startswith("loss")), **losses}

    usual = {"steps": p.steps, "scratch": job.scratch, "save_every": p.save_every}
    return train(
        model,
        make_optimizer(p.optimizer, model, lr=p.lr, weight_decay=p.weight_decay, faster=faster),
        take_step,
        factor=lambda step: warmup_steps(step, warmup=p.warmup, drops=tuple(p.drops)),
        description=description,
        clip=10.0,
        accumulate=p.accumulate,
        team=job.team,
        **usual | changed,
    )


def text_of(job: Job, rows: list[dict]) -> torch.Tensor:
    """The vectors of rows of `embeddings`, [names, dimension] on the job's device."""
    return torch.tensor(np.array([row["vector"] for row in rows], np.float32)).to(job.device)


def training_paths(job: Job) -> dict[str, str]:
    """{image_id: path} of the training images."""
    return {row["image_id"]: row["path"] for row in job.rows("images") if row["split"] == "train"}


def drawn_objects(job: Job, paths: dict[str, str], categories: set[str]) -> list[dict]:
    """The annotations of those categories in those images that a detector can learn from: no crowds, no slivers."""
    return [
        row
        for row in job.rows("annotations")
        if row["image_id"] in paths
        and row["category"] in categories
        and not row["iscrowd"]
        and min(row["bbox"][2:]) >= 1
    ]
