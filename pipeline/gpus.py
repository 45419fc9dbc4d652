"""GPUs for jobs: a pool that all jobs on a machine take from, whoever started them, and that no two take the same of.

A GPU is taken by a lock on a file of its name in a folder below /tmp (or TMPDIR), which all users share and which a
restart empties: in a folder of one data set, or of one user, another's jobs would not see it. Whoever dies frees it.
A scheduler that gives GPUs itself (Slurm) names them in CUDA_VISIBLE_DEVICES; the pool is those.
"""

import hashlib
import logging
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store import locks
from structures.errors import UserError

log = logging.getLogger("cap2mask")
VISIBLE = "CUDA_VISIBLE_DEVICES"
_SAY_AFTER, _LOOK_EVERY = 5.0, 0.2  # seconds


@contextmanager
def reserve(count: int) -> Iterator[None]:
    """Take `count` GPUs for this process and what it starts, or becomes by exec: CUDA sees them alone. Waits until so
    many are free; where there is none at all nothing happens. To be entered before CUDA is used.

    Raises UserError where there will never be so many.
    """
    pool = visible_gpus()
    if not pool:
        yield
        return
    if count > len(pool):
        raise UserError(
            f"{count} GPUs are asked for (--gpus, or gpu= of --set-resources), there are {len(pool)}: {', '.join(pool)}"
        )
    taken = _take(pool, count)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(taken)
    log.debug("GPU %s", os.environ[VISIBLE])
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
        for lock in taken.values():
            locks.release(lock)


def visible_gpus() -> dict[str, str]:
    """{what CUDA_VISIBLE_DEVICES calls each GPU that this process may use: what it is called by all on the machine}.

    Indices mean the same GPU to all who count alike; schedulers that show each job its own from 0 on show them to
    nvidia-smi as well, whose UUIDs differ then.
    """
    return _visible(_installed_gpus())


def visible_names() -> list[str]:
    """The kinds of GPU that this process may use ("NVIDIA H200"), each once, sorted; "GPU" for those whose kind is not to
    be had. Loads no CUDA."""
    gpus = _installed_gpus()
    kinds = dict(gpus.values())
    return sorted({kinds.get(known_as, "GPU") for known_as in _visible(gpus).values()})


def _visible(gpus: dict[str, tuple[str, str]]) -> dict[str, str]:
    """visible_gpus, of what _installed_gpus found."""
    installed = {index: known_as for index, (known_as, _) in gpus.items()}
    named = os.environ.get(VISIBLE)
    if named is None:
        return installed
    visible = {}
    for name in (part.strip() for part in named.split(",")):
        if not re.match(r"\d+$|GPU-|MIG-", name):
            break  # what is invalid hides all behind it, as for CUDA
        of_this_start = [uuid for uuid in installed.values() if name.startswith("GPU-") and uuid.startswith(name)]
        visible[name] = of_this_start[0] if len(of_this_start) == 1 else installed.get(name, name)
    return visible


def _installed_gpus() -> dict[str, tuple[str, str]]:
    """{index: (UUID, kind)} of the machine's GPUs, or of those that a container shows."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        nodes = sorted(Path("/dev").glob("nvidia[0-9]*"))
        return {node.name.removeprefix("nvidia"): (node.name, "GPU") for node in nodes}
    rows = re.findall(r"^GPU (\d+): (.*?) *\(UUID: (GPU-[^)]+)\)", done.stdout, re.MULTILINE)
    return {index: (uuid, kind) for index, kind, uuid in rows}


def _take(pool: dict[str, str], count: int) -> dict[str, int]:
    """{name: lock} of the first `count` that are free, all at once: two jobs that each held a part of what the other
    needs would wait for ever. Who waits stands in a queue, so that those who need one don't pass one who needs eight."""
    folder = _lock_folder()
    queue = hashlib.sha256(",".join(sorted(pool.values())).encode()).hexdigest()[:16]
    what = "a GPU" if count == 1 else f"{count} GPUs"
    waiting = threading.Timer(_SAY_AFTER, log.info, (f"waiting for {what} of {', '.join(pool)}, which others use",))
    waiting.daemon = True
    waiting.start()
    turn = _lock(folder / f"queue-{queue}")
    try:
        while True:
            taken = {}
            for name, known_as in pool.items():
                if len(taken) == count:
                    break
                lock = _lock(folder / re.sub(r"[^\w.-]", "_", known_as), wait=False)
                if lock is not None:
                    taken[name] = lock
            if len(taken) == count:
                return taken
            for lock in taken.values():
                locks.release(lock)
            time.sleep(_LOOK_EVERY)
    finally:
        waiting.cancel()
        locks.release(turn)


def _lock(path: Path, wait: bool = True) -> int | None:
    try:
        return locks.acquire(path, wait)
    except OSError as error:
        raise UserError(
            f"GPUs can't be shared out, for {path} can't be locked ({error}): set TMPDIR to a folder "
            "that all who use this machine's GPUs can write to"
        ) from error


def _lock_folder() -> Path:
    """A folder in which every user may make files, and nobody remove another's."""
    folder = Path(tempfile.gettempdir(), "cap2mask-gpus")
    try:
        folder.mkdir()
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    return folder
