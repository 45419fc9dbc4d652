"""How every detector is trained: one schedule, in one process or in one a GPU, with batches whole or in parts."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from structures.pictures import float_on
from training.loop import autocast, make_optimizer, step_seed, train, warmup_milestones
from training.processes import all_reduce_min_, get_rank, get_world_size


def train_detector(
    model: torch.nn.Module,
    batches: Callable[[int], list[tuple[torch.Tensor, dict]]],
    *,
    steps: int,
    lr: float,
    warmup: int,
    milestones: tuple[int, ...],
    optimizer: str,
    weight_decay: float,
    precision: str,
    accumulate: int,
    save_every: int,
    seed: int,
    device: str,
    scratch: Path,
    description: str,
    lr_factors: dict[str, float] | None = None,
) -> list[dict]:
    """Train `model`, which is on `device`, by the losses that model(images, targets) returns; the curve, as of
    training.loop.train. What else than losses ("loss…") they name is recorded.

    batches(step): a list of (picture [3, h, w] uint8, target), this process's share of the step's batch, or a part of it
    with accumulate > 1; it may draw from torch's global generator, as torchvision's samplers do. That is set for each
    part of each step, counted over all processes, so that two processes learn what one does from two parts. optimizer, lr,
    weight_decay, lr_factors: as for make_optimizer; warmup, milestones: as for warmup_milestones; precision: as for
    autocast. A model with update_teacher() is asked for it after each step; a buffer least_noise is, after each step, the
    least of all processes.
    """
    model.to(memory_format=torch.channels_last)  # what convolutions are fastest in, on processors and on GPUs
    solver = make_optimizer(optimizer, model, lr=lr, weight_decay=weight_decay, lr_factors=lr_factors)
    if hasattr(model, "update_teacher"):
        solver.register_step_post_hook(lambda *_: model.update_teacher())
    if hasattr(model, "least_noise"):  # before a checkpoint is kept, which one process writes for all
        solver.register_step_post_hook(lambda *_: all_reduce_min_(model.least_noise))
    network = data_parallel(model)

    def take_step(step: int, part: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(step_seed(seed, step, part * get_world_size() + get_rank()))
        batch = batches(step)
        images = [float_on(device, picture) for picture, _ in batch]
        targets = [{key: value.to(device, non_blocking=True) for key, value in target.items()} for _, target in batch]
        with autocast(device, precision):
            losses = network(images, targets)
        return {"loss": sum(value for name, value in losses.items() if name.startswith("loss")), **losses}

    return train(
        network,
        solver,
        take_step,
        steps=steps,
        lr_factor=lambda step: warmup_milestones(step, warmup=warmup, milestones=milestones),
        scratch=scratch,
        description=description,
        save_every=save_every,
        clip=10.0,
        accumulate=accumulate,
    )


def data_parallel(model: torch.nn.Module) -> torch.nn.Module:
    """The model, where there are several processes wrapped so that they average their gradients."""
    if get_world_size() == 1:
        return model
    # A share of a batch may use only some weights: pictures without annotations none of the region proposal network's.
    # Buffers are a process's own: of the least noise that each saw train_detector takes the minimum.
    return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
