"""Training on several GPUs (or processes): who this process is, and how gradients are shared.

torchrun starts the processes; each takes its share of every batch, and gradients are averaged before each step.
"""

import os
import sys
from dataclasses import dataclass

from structures.errors import UserError


@dataclass(frozen=True)
class Team:
    """Process `rank` of `world`; a process alone is the whole team."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls) -> "Team":
        """As torchrun says in the environment."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def leads(self) -> bool:
        """Whether this process writes what all made."""
        return self.rank == 0

    def join(self, device: str) -> None:
        """Meet the others; on CUDA take the GPU of this process."""
        if self.world == 1:
            return
        import torch
        import torch.distributed as dist

        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")

    def leave(self) -> None:
        """The end of what join began."""
        if self.world > 1:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.destroy_process_group()

    def share(self, batch: int, accumulate: int) -> int:
        """Images a process takes at once. Raises UserError where the batch can't be split evenly."""
        if batch % (self.world * accumulate):
            raise UserError(
                f"a batch of {batch} can't be split over {self.world} processes, {accumulate} times each: "
                "change batch or accumulate"
            )
        return batch // (self.world * accumulate)

    def average_gradients(self, module) -> None:
        """Replace every gradient by its mean over the team; a weight that some process did not use counts as zero."""
        if self.world == 1:
            return
        import torch
        import torch.distributed as dist

        learned = [weight for weight in module.parameters() if weight.requires_grad]
        for weight in learned:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.flatten() for weight in learned])
        dist.all_reduce(flat)
        flat /= self.world
        for weight, part in zip(learned, flat.split([weight.numel() for weight in learned])):
            weight.grad.copy_(part.view_as(weight))

    def least(self, value: float) -> float:
        """The smallest of the team's values."""
        if self.world == 1:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value)
        if dist.get_backend() == "nccl":
            found = found.cuda()
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return float(found)

    def average(self, scalars: dict) -> dict:
        """The mean of named scalars over the team."""
        if self.world == 1:
            return scalars
        import torch
        import torch.distributed as dist

        values = torch.stack([value.detach().float() for value in scalars.values()])
        dist.all_reduce(values)
        return dict(zip(scalars, values / self.world))


def spread_out(gpus: int) -> None:
    """Start this command again as `gpus` processes under torchrun, where it isn't one of them already."""
    if gpus > 1 and "RANK" not in os.environ:
        module = sys.modules["__main__"].__spec__.name
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
        os.execv(sys.executable, [*launch, "--module", module, *sys.argv[1:]])
