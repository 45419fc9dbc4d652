"""Processes that end when the one that they work for is gone, however it ended: nobody waits for them any more, and whoever
starts the same work again would work beside them.

A snakemake says in the environment who it is; stages see whether it still is. On a cluster each job has a snakemake of
its own, on the same machine as the stage. The kernel tells a parent's end only of itself, and between a snakemake and
its stages there is a shell.
"""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("cap2mask")
VARIABLE = "CAP2MASK_SNAKEMAKE"  # who started the stages: machine, process, and when that began
_GRACE = 5.0  # seconds for a tidy end


def sign() -> None:
    """Say to all stages that this process starts who it is."""
    os.environ[VARIABLE] = f"{_machine()} {os.getpid()} {_began(os.getpid())}"


def end_with_snakemake() -> None:
    """End this process when the snakemake that started it ends (one that a person started does not look), and its forks,
    the workers of pools, when it ends itself."""
    machine, process, began = [*os.environ.get(VARIABLE, "").rsplit(" ", 2), "", ""][:3]
    if machine == _machine():
        watch(int(process), began, _end_stage)
    os.register_at_fork(after_in_child=_end_with_parent)


def _end_with_parent() -> None:
    parent = os.getppid()
    watch(parent, _began(parent), lambda: os._exit(1))


def watch(process: int, began: str, then: Callable[[], None]) -> None:
    """Call a function in a thread of its own when a process has ended. began: when it did, as _began says, for another may
    have its number by now."""

    def wait() -> None:
        try:
            descriptor = os.pidfd_open(process)
        except (AttributeError, OSError):
            descriptor = None  # an old kernel, another system, or a process that has ended
        if descriptor is not None and _began(process) == began:
            select.select([descriptor], [], [])
        while _is_alive(process) and _began(process) == began:
            time.sleep(1.0)
        then()

    threading.Thread(target=wait, daemon=True, name="orphans").start()


def _end_stage() -> None:
    log.warning("the snakemake that started this stage has ended, so it ends as well; started again it goes on")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(143)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(process) != "Z"


def _machine() -> str:
    """What tells this machine, since it was started, and this container from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _began(process: int) -> str:
    """When a process began, in the kernel's ticks; empty where the system does not say, or it has ended."""
    return _stat(process)[19] if _stat(process) else ""


def _state(process: int) -> str:
    return _stat(process)[0] if _stat(process) else ""


def _stat(process: int) -> list[str]:
    """The fields of /proc/<process>/stat after the command's name."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
