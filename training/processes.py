"""Several processes that train together, one a GPU: which of them this is, and what they agree on (torch.distributed).

torchrun starts the processes. Whoever only asks who this process is loads no torch. What others' launchers say in the
environment (RANK, WORLD_SIZE in a cluster's job or a shell that torchrun started) is about other processes than these.
"""

import os
import sys

from structures.errors import UserError

LAUNCHED = "CAP2MASK_LAUNCHED"  # in the environment of the processes that launch starts
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "NODE_RANK", "PET_", "TORCHELASTIC_")

# The group, kept beyond its end: what averages gradients holds it too, and where that is freed last (after an error, say)
# torch waits, with Python's lock in hand, for gloo's threads, one of which may wait for that lock.
_met = None


def get_rank() -> int:
    """The number of this process, from 0 on, as the torchrun that launch started says in the environment."""
    return int(os.environ.get("RANK", 0)) if LAUNCHED in os.environ else 0


def get_world_size() -> int:
    """How many processes train together; 1 for a process alone."""
    return int(os.environ.get("WORLD_SIZE", 1)) if LAUNCHED in os.environ else 1


def is_main_process() -> bool:
    """Whether this process writes what all of them made."""
    return get_rank() == 0


def launch(processes: int) -> None:
    """Start this very command (python -m MODULE ARGUMENTS) again as so many processes under torchrun, in place of this
    process; return where one is enough or where this is one of them already."""
    if processes <= 1 or LAUNCHED in os.environ:
        return
    module = sys.modules["__main__"].__spec__.name
    torchrun = [sys.executable, "-m", "training.processes", "--standalone", f"--nproc-per-node={processes}"]
    # after "--" torchrun takes no argument for its own: it would read the command's --run as a part of --run-path
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OF_TORCHRUN)}
    os.execve(sys.executable, [*torchrun, "--module", "--", module, *sys.argv[1:]], others | {LAUNCHED: "1"})


def init_process_group(device: str) -> None:
    """Meet the other processes, over nccl for "cuda" (which takes the GPU of this process), over gloo for "cpu"."""
    global _met
    if get_world_size() == 1:
        return
    import torch

    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    _met = torch.distributed.group.WORLD


def destroy_process_group() -> None:
    """The end of what init_process_group began."""
    if get_world_size() == 1:
        return
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if get_world_size() > 1:
        import torch

        met = torch.zeros((), device=_device())
        torch.distributed.all_reduce(met)
        met.item()  # over nccl all_reduce itself returns before the others came


def _device() -> str:
    """Where tensors must be that the processes exchange."""
    import torch

    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


def reduce_dict(values: dict) -> dict:
    """The mean over the processes of each of named scalars (tensors [] on one device), detached; all have the same
    names."""
    if get_world_size() == 1:
        return {name: value.detach() for name, value in values.items()}
    import torch

    means = torch.stack([value.detach().float() for value in values.values()])
    torch.distributed.all_reduce(means)
    return dict(zip(values, means / get_world_size()))


def all_reduce_min_(value) -> None:
    """Make a tensor that every process has the smallest of all of theirs, element by element."""
    if get_world_size() == 1:
        return
    import torch

    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MIN)


def batch_share(batch: int, accumulate: int, processes: int | None = None) -> int:
    """Items that each of `processes` (those that train together) takes at once of a step's batch. Raises UserError where
    it can't be split evenly."""
    processes = processes or get_world_size()
    share, rest = divmod(batch, processes * accumulate)
    if rest:
        raise UserError(
            f"a batch of {batch} can't be split over {processes} processes, {accumulate} times each: "
            "change batch or accumulate"
        )
    return share


def _torchrun() -> None:
    """torchrun, without its traceback where a process has said itself what went wrong, or where it is told to end."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.main(sys.argv[1:])
    except ChildFailedError as error:
        sys.exit(max(1, *(failure.exitcode for failure in error.failures.values())))
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    _torchrun()
