"""The training loop that every training stage shares: schedule, accumulation, several GPUs, resume after a kill, a stop
at the first NaN, a curve.

A step draws all of its randomness from (seed, step), so a run that was killed and started again takes the same steps
and ends in the same bytes as one that was not.
"""

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from structures.errors import UserError
from structures.progress import progress
from training.checkpoint import read_checkpoint, save_checkpoint
from training.processes import is_main_process, reduce_dict

log = logging.getLogger("cap2mask")


class TrainingError(UserError):
    """Training can't go on; the message names the step and the last good checkpoint."""


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """What the random numbers of a part of a step start from; parts are counted over all processes."""
    return (seed * 1_000_003 + step + part * 1_000_000_007) % (2**63)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step."""
    return torch.Generator().manual_seed(step_seed(seed, step))


def autocast(device: str, precision: str):
    """The context in which a loss is computed: "fp32" as it is, "bf16" with autocast, "auto" with it where the
    processor or the GPU computes in bfloat16 itself."""
    kind = device.split(":")[0]
    if precision == "auto":
        native = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if kind == "cuda"
            else torch.cpu.get_capabilities().get("avx512_bf16", False)
        )
        precision = "bf16" if native else "fp32"
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16")


def make_optimizer(
    method: str, module: torch.nn.Module, *, lr: float, weight_decay: float, lr_factors: dict[str, float] | None = None
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9 ("sgd"), or AdamW ("adamw"), over the weights that learn.

    lr_factors: {start of a weight's name: factor on its learning rate}.
    """
    groups: dict[float, list] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            factors = [factor for start, factor in (lr_factors or {}).items() if name.startswith(start)]
            groups.setdefault(factors[0] if factors else 1.0, []).append(weight)
    parameters = [{"params": weights, "lr": lr * factor} for factor, weights in groups.items()]
    if method == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def warmup_cosine(step: int, *, steps: int, warmup: int, floor: float = 0.01) -> float:
    """A factor on the learning rate: linear from 0 over `warmup` steps, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def warmup_milestones(step: int, *, warmup: int, milestones: Sequence[int]) -> float:
    """A factor on the learning rate: linear over `warmup` steps, then ten times less from each of `milestones` on."""
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return factor * 0.1 ** sum(step >= milestone for milestone in milestones)


def train(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    take_step: Callable[..., dict[str, torch.Tensor]],
    *,
    steps: int,
    lr_factor: Callable[[int], float],
    scratch: Path,
    description: str,
    save_every: int = 500,
    clip: float | None = None,
    record_every: int = 10,
    accumulate: int = 1,
) -> list[dict]:
    """Run `steps` steps and return the curve: rows of step, name, value (means over record_every steps).

    take_step(step) returns named scalars, the same names in every step; "loss" is minimised, the others are recorded.
    With accumulate > 1 it is called as take_step(step, part) for each part of a step, whose gradients are averaged.
    Where several processes train, module is a DistributedDataParallel, which averages theirs, and take_step calls it.
    lr_factor(step) scales the learning rates that the optimizer came with; clip bounds the gradients' norm. A
    checkpoint is kept in `scratch` and taken up again from there, on whatever device; scratch/curve.csv can be watched
    meanwhile.

    Raises TrainingError where the loss or the gradients' norm is not finite: it is looked at with each record, before
    a checkpoint is kept and when a step breaks, for a GPU has to be waited for.
    """
    parallel = isinstance(module, DistributedDataParallel)
    network = module.module if parallel else module
    checkpoint = scratch / "checkpoint.pt"
    rates = [group["lr"] for group in optimizer.param_groups]
    start, curve, sums = _resume(checkpoint, network, optimizer)
    record = _Record(sums, description, checkpoint)
    live = _LiveCurve(scratch / "curve.csv", curve) if is_main_process() else None
    bar = progress(
        range(start, steps), description=description, unit="step", total=steps, done=start, quiet=not is_main_process()
    )
    shown = time.monotonic()
    for step in bar:
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * lr_factor(step)
        optimizer.zero_grad(set_to_none=True)
        parts = []
        try:
            for part in range(accumulate):
                # processes exchange gradients once a step, with its last part
                with module.no_sync() if parallel and part + 1 < accumulate else nullcontext():
                    scalars = take_step(step, part) if accumulate > 1 else take_step(step)
                    (scalars["loss"] / accumulate).backward()
                parts.append({name: value.detach() for name, value in scalars.items()})
        except Exception:
            record.settle()  # a network whose weights are no numbers any more breaks in many ways: this says since when
            raise
        scalars = reduce_dict({name: sum(part[name] for part in parts) / accumulate for name in parts[0]})
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip) if clip else None
        optimizer.step()
        record.add(step, scalars, norm)
        recorded = (step + 1) % record_every == 0 or step + 1 == steps
        saved = (step + 1) % save_every == 0 and step + 1 < steps
        if recorded or saved:
            record.settle()
        if recorded:
            rows = record.rows(step + 1, (step % record_every) + 1)
            curve += rows
            if live:
                live.add(rows)
            if time.monotonic() - shown > 5:
                bar.set_postfix({row["name"]: f"{row['value']:.3f}" for row in rows}, refresh=False)
                shown = time.monotonic()
        if saved and is_main_process():
            state = {"module": network.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(checkpoint, state | {"step": step + 1, "curve": curve, "sums": record.sums})
    return curve


class _Record:
    """The scalars of steps, which stay on the device until they are settled: to read one is to wait for all that a GPU
    was given. sums: {name: the sum over steps} of those that are settled."""

    def __init__(self, sums: dict[str, float], description: str, checkpoint: Path):
        self.sums, self._description, self._checkpoint = sums, description, checkpoint
        self._steps: list[tuple[int, tuple[str, ...]]] = []
        self._values: list[torch.Tensor] = []

    def add(self, step: int, scalars: dict[str, torch.Tensor], norm: torch.Tensor | None) -> None:
        """The scalars of a step, and the norm of its gradients."""
        self._steps.append((step, tuple(scalars)))
        norm = torch.zeros_like(scalars["loss"]) if norm is None else norm
        self._values.append(torch.stack([value.float() for value in (*scalars.values(), norm)]))

    def settle(self) -> None:
        """Add what has come to the sums. Raises TrainingError where a loss or a norm is not finite."""
        steps, values = self._steps, torch.stack(self._values).tolist() if self._values else []
        self._steps, self._values = [], []
        for (step, names), (*scalars, norm) in zip(steps, values):
            of_step = dict(zip(names, scalars))
            for what, value in (("loss", of_step["loss"]), ("norm of the gradients", norm)):
                if not math.isfinite(value):
                    kept = f"the last good checkpoint is {self._checkpoint}"
                    good = kept if self._checkpoint.exists() else "no checkpoint was kept yet"
                    raise TrainingError(
                        f"{self._description}: the {what} is {value} at step {step}; {good}; try a lower lr"
                    )
            for name, value in of_step.items():
                self.sums[name] = self.sums.get(name, 0.0) + value

    def rows(self, step: int, count: int) -> list[dict]:
        """The means over `count` steps as rows of the curve; the sums begin anew."""
        rows = [{"step": step, "name": name, "value": total / count} for name, total in self.sums.items()]
        self.sums = {}
        return rows


def _resume(checkpoint: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list, dict]:
    """Load a checkpoint where there is a whole one: the step to go on with, the curve, and the sums that it goes on from."""
    state = read_checkpoint(checkpoint)
    if state is None:
        return 0, [], {}
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["curve"], state["sums"]


class _LiveCurve:
    """The curve so far as a CSV file that grows while the training runs."""

    def __init__(self, path: Path, rows: list[dict]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with path.open("w", newline="") as file:
            csv.DictWriter(file, ("step", "name", "value")).writeheader()
        self.add(rows)
        log.debug("curve: %s", path)

    def add(self, rows: list[dict]) -> None:
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, ("step", "name", "value")).writerows(rows)
