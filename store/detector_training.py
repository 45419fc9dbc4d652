"""How every detector is trained: one schedule, on one or many GPUs, in one or several parts of a batch."""

from collections.abc import Callable

import torch

from store.job import Job
from store.training import autocast, make_optimizer, step_seed, train, warmup_steps


def train_detector(
    job: Job, model: torch.nn.Module, text: torch.Tensor, batches: Callable, *, description: str
) -> list:
    """Train `model` by its losses(images, targets, text) as the stage's parameters say; the curve.

    batches(step): a list of (picture [3, h, w], target), this process's part of the step's batch; it may draw from
    torch's global generator, which is set for each part of each step, as torchvision's samplers do.
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
        return {"loss": sum(losses.values()), **losses}

    return train(
        model,
        make_optimizer(p.optimizer, model, lr=p.lr, weight_decay=p.weight_decay),
        take_step,
        steps=p.steps,
        factor=lambda step: warmup_steps(step, warmup=p.warmup, drops=tuple(p.drops)),
        scratch=job.scratch,
        description=description,
        save_every=p.save_every,
        clip=10.0,
        accumulate=p.accumulate,
        team=job.team,
    )
