"""Folders with spaces, quotes and shell commands in their names: to the project, the data set, Python, the layout."""

import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from store.fingerprint import ROOT
from tests.conftest import MINIATURE, Project

ODD = """it's "odd" $(touch pwned) `touch pwned` ; touch pwned #"""


@pytest.fixture()
def odd(tmp_path) -> Project:
    """A project in a folder of an odd name, its data set in another, and Python in a third."""
    folder = tmp_path / ODD.replace("/", "")
    layout = f"config/{ODD}.yaml"
    project = Project(
        folder,
        MINIATURE | {"toy": {"train": 4, "val": 2}, "root": f"data/{ODD}", "tables": {"seeds": [1], "layout": layout}},
    )
    (folder / "config" / "variants").mkdir()
    (folder / "config" / "variants" / "one.yaml").write_text("gradcam: {iterations: 1}\n")
    (folder / layout).write_text(
        "- {table: t, note: n, columns: [generalized segm all], rows: [{row: r, variant: one, detector: train_detector}]}\n"
    )
    (folder / "my 'python").symlink_to(Path(sys.prefix))
    return project


def snakemake(project: Project, *args: str) -> str:
    """snakemake with the Python of the odd folder."""
    python = project.folder / "my 'python" / "bin" / "python"
    command = [str(python), "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *args]
    done = subprocess.run(command, cwd=project.folder, env=project._environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_odd_names_of_folders_are_names_and_no_commands(odd):
    snakemake(odd, "--until", "ingest")
    assert len(pd.read_parquet(odd.run / "images")) == 6
    assert (odd.folder / "logs/mini/ingest/all.log").read_text()
    printed = snakemake(odd, "-n", "-p", "tables")
    [command] = [line.split("Shell command: ")[1] for line in printed.splitlines() if " -m pipeline " in line]
    words = shlex.split(command)
    assert words[0] == str(odd.folder / "my 'python" / "bin" / "python")
    assert f"--layout=config/{ODD}.yaml" in words
    assert not [file for file in odd.folder.rglob("pwned*") if file.name == "pwned"]
