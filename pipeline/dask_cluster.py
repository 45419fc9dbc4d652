"""A Dask cluster that works for a stage: of the same versions and the same code as the stage, or refused in a line."""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from store.fingerprint import fingerprint
from structures.errors import UserError

log = logging.getLogger("cap2mask")
ANSWERS = 7  # seconds that a scheduler may take, which may be busy with others
_PACKAGES = ("dask", "distributed", "cloudpickle", "pandas", "pyarrow")
_REMEDY = "start scheduler and workers from this environment, in a clone of this version (PYTHONPATH names it)"


@contextmanager
def connected(address: str, *modules: str) -> Iterator:
    """A client of the scheduler at an address. modules: whose code the workers run.

    Raises UserError where none answers there, or scheduler or workers have other versions or other code than this process,
    or, of the work that is done meanwhile, where the cluster is lost.
    """
    from distributed import Client
    from distributed.client import FutureCancelledError

    _check_answer(address)
    with Client(address) as client:
        _check_versions(client, address)
        _check_code(client, modules)
        if not client.nthreads():
            log.warning("the Dask cluster at %s has no worker yet: waiting for one", address)
        try:
            yield client
        except (FutureCancelledError, OSError) as error:
            if client.status == "running":
                raise
            raise UserError(f"the Dask scheduler at {address} ended ({error}): start it and run again") from error


def _check_answer(address: str) -> None:
    """Raises UserError where no scheduler answers: a client of its own would wait for ever for what only listens."""
    from distributed.core import rpc

    async def identity() -> dict:
        async with rpc(address) as scheduler:
            return await asyncio.wait_for(scheduler.identity(), ANSWERS)

    try:
        with ThreadPoolExecutor(1) as thread:  # whoever calls may have a loop of its own
            told = thread.submit(lambda: asyncio.run(identity())).result()
    except Exception as error:  # of what else answers there any first bytes are taken for a length: MemoryError
        fault = str(error) or f"nothing in {ANSWERS} seconds"
    else:
        fault = "" if told.get("type") == "Scheduler" else f"a {told.get('type')} does"
    if fault:
        raise UserError(
            f"no Dask scheduler answers at {address} ({fault}): name one that runs, or none for this machine's cores"
        )


def _check_versions(client, address: str) -> None:
    """Raises UserError where scheduler or a worker has another Python or package than this process."""
    known = client.get_versions(packages=_PACKAGES)
    ours = _versions(known["client"])
    for who, theirs in {f"the scheduler at {address}": known["scheduler"], **known["workers"]}.items():
        other = {name: version for name, version in _versions(theirs).items() if version != ours[name]}
        if other:
            told = ", ".join(f"{name} {version or 'missing'} for {ours[name]}" for name, version in other.items())
            who = who if who.startswith("the") else f"the worker at {who}"
            raise UserError(f"{who} has other versions than this stage ({told}): {_REMEDY}")


def _versions(of_process: dict) -> dict[str, str]:
    python = ".".join(of_process["host"]["python"].split(".")[:3])
    return {"python": python} | {name: of_process["packages"].get(name) for name in _PACKAGES}


def _check_code(client, modules: tuple[str, ...]) -> None:
    """Raises UserError where a worker can't import this project's code, or has another version of it."""
    ours = fingerprint(*modules)
    for worker, theirs in client.run(_code, modules, on_error="return").items():
        if theirs != ours:
            what = f"can't import it ({theirs})" if isinstance(theirs, BaseException) else "has another version of it"
            raise UserError(f"the worker at {worker} lacks this project's code, or {what}: {_REMEDY}")


def _code(modules: tuple[str, ...]) -> str:
    return fingerprint(*modules)
