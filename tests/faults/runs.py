"""The miniature, of which a part is forgotten, made again by Snakemake: what it is compared with, and how it is started."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.config import checked
from pipeline.lineage import ancestors
from pipeline.registry import stages
from store.manifest import Run
from tests.conftest import MINIATURE, ROOT, Project


def copy_of(project: Project, folder: Path) -> Project:
    """A copy of a project's folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project.folder, folder, symlinks=True)
    return Project(folder, MINIATURE)


def forget(project: Project, rng: random.Random) -> str:
    """Remove what a stage and all that depend on it made in the run, and the memos of it; the stage."""
    config = checked(project.config)
    run = Run(project.folder / "data", project.config["run"])
    first = rng.choice(sorted({manifest.stage for manifest in run.manifests()}))
    for manifest in run.manifests():
        if first in ancestors([manifest.stage], config):
            run.manifest_path(manifest.stage, manifest.shard).unlink()
            (project.folder / "data" / "actions" / f"{manifest.key}.json").unlink(missing_ok=True)
    assert first in stages()
    return first


def manifests(project: Project, run: str = MINIATURE["run"]) -> dict[str, bytes]:
    """The bytes of a run's manifests, by path."""
    root = project.folder / "data" / "runs" / run / "manifests"
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*.json"))}


class Snakemake:
    """snakemake as a user starts it, in a process group of its own, and not waited for."""

    def __init__(self, project: Project, *args: str):
        self.log = project.folder / f"snakemake.{random.randrange(10**9)}.log"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--max-threads", "1", *args],
                cwd=project.folder,
                env=project._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ends(self, seconds: float | None = None) -> int | None:
        """Its exit status; None where it still runs after so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, *, alone: bool) -> None:
        """Kill it with all that it started, or alone."""
        (os.kill if alone else os.killpg)(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")
