"""Two processes, started by Snakemake as a user starts them, learn what one learns from as many parts of a batch: every
stage that processes can share, every strategy of the student, images with and without base annotations.

A case of the student, drawn at random, runs with all tests; `make test-processes` runs all.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from pipeline.config import section_schema
from pipeline.registry import stages
from store.fingerprint import ROOT
from tests.conftest import Project

STRATEGIES = section_schema("train_student")["properties"]["strategy"]["enum"]
TRAININGS = [name for name, stage in stages().items() if stage.processes]
OTHERS = [(name, accumulate) for name in TRAININGS if name != "train_student" for accumulate in (1, 2)]
STUDENTS = [(strategy, accumulate) for strategy in STRATEGIES for accumulate in (1, 2)]
CASES = [(name, "", accumulate) for name, accumulate in OTHERS] + [("train_student", *case) for case in STUDENTS]
DRAWN = ("train_student", *random.Random(int(os.environ.get("CAP2MASK_SAMPLE", "1"))).choice(STUDENTS))
GATHERING = (
    "pretrain_captions",
)  # stages whose loss is of all processes' shares together: as one process has it of as many parts
SLOW = pytest.mark.processes
pytestmark = pytest.mark.xdist_group("processes")  # one case at a time, on the cores of two
LIMIT = 180  # seconds, of which ten or twenty are needed: processes that wait for each other wait for ever


@pytest.fixture(scope="module")
def partly_annotated(miniature, tmp_path_factory):
    """The miniature, as a data set of one's own in which every other training image lacks base annotations."""
    folder = tmp_path_factory.mktemp("partly_annotated")
    shutil.copytree(miniature.folder, folder, symlinks=True, dirs_exist_ok=True)
    project = Project(folder, yaml.safe_load(yaml.safe_dump(miniature.config)) | {"toy": {"train": 0}})
    file = folder / "data/toy/annotations/instances_train.json"
    content = json.loads(file.read_text())
    base = json.loads((ROOT / "data/splits/toy.json").read_text())["base"]
    base_ids = {category["id"] for category in content["categories"] if category["name"] in base}
    content["annotations"] = [
        annotation
        for annotation in content["annotations"]
        if annotation["category_id"] not in base_ids or annotation["image_id"] % 2
    ]
    file.write_text(json.dumps(content))
    project.snakemake("--until", "student_labels", "train_detector")
    return project


def on_two_processes(project: Project, name: str, settings: dict) -> None:
    """`snakemake --resources gpu=2 --set-resources NAME:gpu=2`, within LIMIT."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--max-threads", "1", "--resources", "gpu=2", "--set-resources", f"{name}:gpu=2"]
    command += ["--config", f"{name}={json.dumps(settings)}", "--until", name]
    output_file = project.folder / "output.txt"
    with output_file.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=project._environment() | {"CUDA_VISIBLE_DEVICES": ""},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # torchrun ends those that it started, which are in no group of ours
            time.sleep(5)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(f"no end after {LIMIT} s:\n{output_file.read_text()}")
    assert code == 0, output_file.read_text()


@SLOW
def test_what_goes_wrong_in_a_process_is_one_line_of_it(partly_annotated):
    settings = ("--gpus", "2", "--batch", "4", "--steps", "3", "--lr", "1e30", "--into", "bad", "--device", "cpu")
    output = partly_annotated.stage("train_detector", "--run", "mini", *settings, check=False)
    assert "train_detector: training the detector: the loss is nan at step" in output
    assert "Traceback" not in output


def curve(project: Project, run: str, name: str) -> pd.Series:
    """A training's losses, by step and name."""
    file = project.folder / "data" / "runs" / run / name / "_curve" / "all.parquet"
    return pd.read_parquet(file).set_index(["step", "name"])["value"]


@pytest.mark.parametrize(
    ("name", "strategy", "accumulate"),
    [
        pytest.param(*case, id="-".join(map(str, filter(None, case))), marks=() if case == DRAWN else [SLOW])
        for case in CASES
    ],
)
def test_two_processes_learn_what_one_learns_from_as_many_parts(partly_annotated, name, strategy, accumulate):
    project, batch = partly_annotated, 4 * accumulate  # shares of two images
    # AdamW makes steps of equal size of the smallest gradients, of which rounding may change the sign: small steps
    settings = {"batch": batch, "accumulate": accumulate, "steps": 4, "lr": 0.00001}
    parts = accumulate if name in GATHERING else 2 * accumulate
    flags = ["--batch", str(batch), "--accumulate", str(parts), "--steps", "4", "--lr", "0.00001"]
    if strategy:
        settings["strategy"] = strategy
        flags += ["--strategy", strategy]
    if strategy in ("soft_teacher", "unbiased_teacher"):  # the miniature's teacher is sure of nothing
        settings[strategy] = {"confidence_threshold": 0.02}
        flags += [f"--{strategy.replace('_', '-')}.confidence-threshold", "0.02"]
    on_two_processes(project, name, settings)
    two = curve(project, "mini", name)
    project.stage(name, "--run", "mini", "--into", "alone", *flags, "--recompute")
    one = curve(project, "alone", name)
    assert list(two.index) == list(one.index) and two.notna().all()
    assert "labels" not in one.index.unique("name") or one[:, "labels"].min() > 0, "what the moving average sees counts"
    pd.testing.assert_series_equal(two, one, rtol=1e-4, atol=1e-6)  # rounding: 2e-5 on a processor without AVX-512
