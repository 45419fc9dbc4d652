"""The miniature's pseudo-labels through profiles/slurm on a real Slurm, in eight shards: what a run here writes, to the
byte, whatever happens to jobs and to snakemake meanwhile. `make cluster-test`; root, and Debian's packages."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.registry import stages
from store import locks
from tests.cluster import slurm
from tests.conftest import MINIATURE, ROOT, Project
from tests.faults.runs import manifests

WHY_NOT = slurm.missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"no Slurm was started: {WHY_NOT}"),
]
SHARDS = 8
CONFIG = MINIATURE | {"shards": SHARDS, "propose": {"by": "selective_search"}}
LAST = "select_boxes"  # of the stages of shards segment alone is behind it


@pytest.fixture(scope="module")
def cluster():
    """A Slurm; its folder's path has to be short, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="cap2mask-slurm-", dir="/tmp"))
    try:
        with slurm.started(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> dict[str, bytes]:
    """The manifests of a run without a cluster."""
    project = Project(tmp_path_factory.mktemp("here"), CONFIG)
    project.snakemake("--until", LAST)
    return manifests(project)


class OnCluster:
    """snakemake --profile profiles/slurm in a project's folder, a few jobs at a time; killed with this process."""

    def __init__(self, project: Project, cluster: slurm.Slurm, *args: str):
        self._cluster, self._log = cluster, project.folder / "snakemake.log"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--max-threads", "1"]
        command += [
            "--jobs",
            "4",
            "--profile",
            str(ROOT / "profiles" / "slurm"),
            "--slurm-init-seconds-before-status-checks",
            "3",
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *args],
                cwd=project.folder,
                env=project._environment() | cluster.environment | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=slurm.end_with_parent,
            )

    def said(self) -> str:
        return self._log.read_text()

    def ends(self) -> int:
        """Its exit status."""
        try:
            return self.process.wait(1800)
        finally:
            self.process.kill()

    def wait_for(self, count: int, of: Callable[[], list]) -> list:
        """What a function lists, once that is so much."""
        until = time.monotonic() + 600
        while len(listed := of()) < count:
            assert self.process.poll() is None and time.monotonic() < until, self.said()
            time.sleep(0.3)
        return listed


def running(cluster: slurm.Slurm, stage: str) -> list[str]:
    """The numbers of the jobs of a stage that run."""
    lines = cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").splitlines()
    return [number for number, comment in map(str.split, lines) if comment.startswith(f"rule_{stage}_")]


def test_what_goes_wrong_on_a_cluster_loses_nothing_and_changes_no_byte(cluster, wanted, tmp_path):
    project = Project(tmp_path, CONFIG)
    # a job that needs more memory than it may have, and is not tried again, ends the run, which says so
    small = ("--set-resources", "categories:mem_mb=60 * attempt**5")
    ended = OnCluster(project, cluster, "--until", "categories", "--retries", "0", *small)
    assert ended.ends() == 1 and "Error in rule categories" in ended.said(), ended.said()
    assert "categories: Slurm ended its job 1: it needed more memory than it asked for" in ended.said(), ended.said()
    # the same command goes on: tried again with more memory that job passes
    run = OnCluster(project, cluster, "--until", LAST, *small)
    run.wait_for(2, lambda: running(cluster, "selective_search"))
    everybody_waits = locks.acquire(project.folder / "data" / "locks" / "store")
    first, second, *_ = running(cluster, "selective_search")
    cluster.ask("scancel", first)
    cluster.ask("scontrol", "update", f"JobId={second}", "TimeLimit=1")
    run.wait_for(1, lambda: [job for job in cluster.jobs() if job["State"] == "TIMEOUT"])
    locks.release(everybody_waits)
    # both are tried again with twice the time and memory; then snakemake is killed while they run

    def again() -> list[dict]:
        jobs = [job for job in cluster.jobs() if "selective_search" in job["Comment"]]
        return [job for job in jobs if job["Timelimit"] == "02:00:00"]

    tried_again = run.wait_for(2, again)
    assert {job["ReqMem"] for job in tried_again} == {"8000M"} and stages()["selective_search"].mem_mb == 4000
    run.process.kill()
    run.process.wait()
    before = run.said()
    assert f"SLURM-job '{first}' failed, SLURM status is: 'CANCELLED" in before
    assert f"SLURM-job '{second}' failed, SLURM status is: 'TIMEOUT'" in before
    last = OnCluster(project, cluster, "--until", LAST, *small)
    assert last.ends() == 0, last.said()
    assert manifests(project) == wanted
    # eight shards of a short stage are one submission; two, if snakemake was killed meanwhile
    submitted = Counter(name for job in cluster.jobs() for name in stages() if f"rule_{name}_" in job["Comment"])
    assert submitted["select_boxes"] == 1 and submitted["nouns"] <= 2 and submitted["gradcam"] >= SHARDS, submitted
    assert "0 broken or missing" in project.store("verify")
