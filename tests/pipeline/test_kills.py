"""What a killed snakemake leaves, and who works beside one that lives."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import orphans
from store import locks
from tests.conftest import ROOT


def start(project, *targets: str) -> subprocess.Popen:
    """snakemake in a project's folder, not waited for."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *targets]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=project.folder, env=project._environment(), **streams)


def descendants(process: int) -> set[int]:
    """The processes that a process started, that those started, and so on."""
    fields = {int(folder.name): orphans._stat(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")}
    found: set[int] = set()
    while more := {child for child, stat in fields.items() if stat and int(stat[1]) in {process, *found}} - found:
        found |= more
    return found


def test_after_a_kill_the_same_command_goes_on_and_no_stage_works_on_alone(project):
    store = project.folder / "data" / "locks" / "store"
    store.parent.mkdir(parents=True)
    everybody_waits = locks.acquire(store)
    log = project.folder / "logs" / "mini" / "ingest" / "all.log"
    snakemake = start(project, "--until", "ingest")
    while not log.exists():
        assert snakemake.poll() is None
    jobs = descendants(snakemake.pid)
    assert any(b"stages.ingest" in Path(f"/proc/{job}/cmdline").read_bytes() for job in jobs)
    snakemake.send_signal(signal.SIGKILL)
    snakemake.wait()
    until = time.monotonic() + 60
    while alive := [job for job in jobs if orphans._is_alive(job)]:
        assert time.monotonic() < until, f"{alive} go on without snakemake"
        time.sleep(0.1)
    locks.release(everybody_waits)
    assert "Finished jobid" in project.snakemake("--until", "ingest")
    assert (project.run / "manifests" / "ingest" / "all.json").exists()
    # a second one beside one that lives
    lock = locks.acquire(project.folder / "data" / "locks" / "run-mini")
    locks.sign(lock)
    output = project.snakemake("--until", "categories", check=False)
    assert f"the run mini is being made by another snakemake (process {os.getpid()} on " in output
    assert "Traceback" not in output and not (project.run / "manifests" / "categories").exists()
    locks.release(lock)
    # and what snakemake itself notices before it does anything
    (project.run / "captions" / "0.parquet").unlink()
    assert "1 links to results were missing or led elsewhere, and were put right" in project.snakemake(
        "--until", "ingest"
    )
    assert (project.run / "captions" / "0.parquet").exists()
    shutil.rmtree(project.folder / "data" / "store" / (project.run / "captions" / "0.parquet").resolve().name[:2])
    output = project.snakemake("--until", "ingest", check=False)
    assert "`python -m store verify --repair` removes them" in output and "missing: mini/captions/0.parquet" in output
    project.store("verify", "--repair")
    project.snakemake("--until", "ingest")
    assert "0 broken or missing" in project.store("verify")


@pytest.mark.parametrize("began", ["now", "long ago"])
def test_a_stage_whose_snakemake_is_gone_already_ends(tmp_path, began):
    """It ended before the stage looked; another process may have its number by now."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = gone.pid if began == "now" else os.getpid()
    code = "import os, sys, time; from pipeline import orphans; "
    code += "os.environ[orphans.VARIABLE] = f'{orphans._machine()} {sys.argv[1]} 1'; "
    code += "orphans.end_with_snakemake(); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code, str(process)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM


def test_a_stage_looks_for_no_process_of_another_machine(tmp_path):
    code = "import os; from pipeline import orphans; os.environ[orphans.VARIABLE] = 'elsewhere 1 1'; "
    code += "orphans.end_with_snakemake(); import threading; print(threading.active_count())"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"1\n"
