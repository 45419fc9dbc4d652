"""A Dask cluster of processes of its own: a worker that is killed changes nothing; what can't work is refused in a line."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import captions, dask_cluster
from pipeline.captions import find_in_captions
from structures.errors import UserError
from tests.conftest import ROOT
from tests.pipeline.slow_finder import FINDER, find_slowly

OLD = "import distributed.versions as v; v._version_cached = lambda name: '1.0'; from distributed.cli.dask_scheduler import main; main()"
SCHEDULER = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")


class Cluster:
    """A scheduler, one of another version, and two workers, each a process."""

    def __init__(self, folder):
        self.folder = folder
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, name: str, *words: str, code: bool = True) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"PYTHONPATH": str(ROOT)} if code else {}
        environment["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "5s"  # for which a worker that is gone is called
        with (self.folder / name).open("w") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *words], cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def start_worker(self, name: str, *, code: bool = True) -> None:
        words = ("-m", "distributed.cli.dask_worker", self.address("scheduler"), "--nthreads", "1", "--no-nanny")
        self.start(name, *words, "--no-dashboard", "--host", "127.0.0.1", code=code)

    def said(self, name: str, pattern: str) -> str:
        """The first group of a pattern in what a process writes, once it is there."""
        until = time.monotonic() + 60
        while not (match := re.search(pattern, (self.folder / name).read_text())):
            assert self.processes[name].poll() is None and time.monotonic() < until, (self.folder / name).read_text()
            time.sleep(0.05)
        return match[1]

    def address(self, name: str) -> str:
        return self.said(name, r"Scheduler at: +(tcp://\S+)")

    def wait_for_worker(self, name: str) -> None:
        self.said(name, r"(Starting established connection)")

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        cluster.start("scheduler", "-m", "distributed.cli.dask_scheduler", *SCHEDULER)
        cluster.start("old scheduler", "-c", OLD, *SCHEDULER)
        cluster.start_worker("first")
        cluster.start_worker("second")
        cluster.wait_for_worker("first")
        cluster.wait_for_worker("second")
        yield cluster
    finally:
        for name in list(cluster.processes):
            cluster.kill(name)


@pytest.fixture()
def job(tmp_path, monkeypatch):
    """Captions in twelve partitions."""
    monkeypatch.setattr(captions, "GROUPS", 1)
    words = ("a cat and two dogs", "nothing known", "the dog")
    rows = [{"image_id": f"{i:02d}", "caption_id": str(i), "text": words[i % 3]} for i in range(24)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "0.parquet", row_group_size=2)
    return SimpleNamespace(paths=lambda table: [tmp_path / "0.parquet"], count=lambda table: len(rows), threads=1)


def tables(job, scheduler: str = "", find=find_slowly):
    return find_in_captions(job, find, scheduler=scheduler, description="")


def test_a_worker_that_is_killed_at_work_changes_no_row(job, cluster):
    whole = list(tables(job, find=FINDER.find))
    assert len(whole) == 12
    under_way = tables(job, cluster.address("scheduler"))
    some = [next(under_way)]
    cluster.kill("first")
    assert some + list(under_way) == whole


def test_a_worker_without_this_code_is_named(job, cluster):
    cluster.start_worker("stranger", code=False)
    cluster.wait_for_worker("stranger")
    with pytest.raises(UserError, match=r"the worker at tcp://.* can't import it .*: start scheduler and workers from"):
        list(tables(job, cluster.address("scheduler")))
    cluster.kill("stranger")


def test_a_scheduler_of_another_version_is_named(job, cluster):
    with pytest.raises(UserError, match=r"the scheduler at tcp://.* other versions than this stage \(dask 1\.0 for "):
        list(tables(job, cluster.address("old scheduler")))


def test_what_is_no_scheduler_is_told_in_seconds(job, cluster, monkeypatch):
    assert dask_cluster.ANSWERS < 10
    monkeypatch.setattr(dask_cluster, "ANSWERS", 2)
    worker = cluster.said("second", r"Start worker at: +(tcp://\S+)")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        listens = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        for address in ("tcp://127.0.0.1:9", "nowhere", "http://127.0.0.1:80", listens, worker):
            began = time.monotonic()
            with pytest.raises(UserError, match=f"no Dask scheduler answers at {address}") as raised:
                list(tables(job, address))
            assert time.monotonic() - began < 10 and "name one that runs" in str(raised.value)


def test_a_scheduler_that_ends_is_told(job, cluster):
    address = cluster.address("scheduler")
    with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):  # for which one that is gone is called
        under_way = tables(job, address)
        next(under_way)
        cluster.kill("scheduler")
        with pytest.raises(UserError, match=f"the Dask scheduler at {address} ended"):
            list(under_way)


def test_a_caller_with_an_event_loop_of_its_own_is_answered(monkeypatch):
    monkeypatch.setattr(dask_cluster, "ANSWERS", 1)

    async def asks() -> None:
        dask_cluster._check_answer("tcp://127.0.0.1:1")

    # in a thread of its own: a browser's driver keeps a loop running in the main one
    with ThreadPoolExecutor(1) as pool, pytest.raises(UserError, match=r"no Dask scheduler answers.*1 \((?!asyncio)"):
        pool.submit(asyncio.run, asks()).result()
