"""Shared pieces of the tests: a miniature of the whole pipeline, run once a session."""

import multiprocessing
import os
import random
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes test side by side
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MINIATURE = {
    "run": "mini",
    "root": "data/toy",
    "vocabulary": str(ROOT / "data/splits/toy.json"),
    "toy": {"train": 10, "val": 6},
    "ingest": {
        split: {
            "images": split,
            "instances": f"annotations/instances_{split}.json",
            "captions": f"annotations/captions_{split}.json",
        }
        for split in ("train", "val")
    },
    "vision_language": {
        "weights": str(ROOT / "data/weights/albef_toy.safetensors"),
        "image_size": 96,
        "max_tokens": 32,
        "layers": [2, 3],
    },
    "text_embedder": {"model": "albef", "weights": str(ROOT / "data/weights/albef_toy.safetensors")},
    "optimizer": {"method": "adamw"},
    "teacher_network": {
        "backbone": "small",
        "weights": str(ROOT / "data/weights/backbone_toy.safetensors"),
        "min_size": 128,
        "max_size": 160,
    },
    "gradcam": {"score": "mlm", "batch": 16},
    "selective_search": {"quick": {"base_k": 100}, "min_side": 8, "max_boxes": 200},
    "train_wspn": {
        "backbone": "small",
        "weights": str(ROOT / "data/weights/backbone_toy.safetensors"),
        "min_size": 128,
        "boxes": 32,
        "steps": 4,
        "batch": 2,
        "hidden": 32,
    },
    "segment": {"side": 24, "batch": 8, "network": {"channels": 8, "steps": 8, "background": "frame"}},
    "train_detector": {
        "backbone": "small",
        "weights": str(ROOT / "data/weights/backbone_toy.safetensors"),
        "min_size": 128,
        "max_size": 160,
        "steps": 4,
        "batch": 2,
        "lr": 0.001,
        "warmup": 0,
    },
    "finetune_detector": {"steps": 3, "batch": 2, "lr": 0.0003, "warmup": 0, "frozen": ["embedding"]},
    "detectors": ["train_detector", "finetune_detector", "train_teacher", "train_student"],
    "pretrain_captions": {"steps": 2, "batch": 2, "lr": 0.001, "warmup": 0},
    "train_teacher": {"steps": 3, "batch": 2, "lr": 0.001, "warmup": 0},
    "student_labels": {
        "labels": "both",
        "both": {"agreement_iou": 0.1},
        "corrupted_fraction": 0.4,
    },  # few agree by more
    "train_student": {"steps": 3, "batch": 2, "lr": 0.0003, "warmup": 0, "robust": {"eta_steps": 2}},
    "detect": {"score_threshold": 0.0, "max_detections": 5},
    "evaluate_proposals": {"generators": ["rpn", "wspn", "selective_search"]},
    "evaluate_labels": {"scores": ["itm"], "batch": 16},
    "report": {"scenes": 2},
}


# Stages by hand are forked off one process that has the slow imports behind it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pandas", "pyarrow.parquet", "torch", "models.xpm.student", "models.grounding.grounder"])


def _as_main(module: str, args: list[str], folder: Path, output_file: Path) -> None:
    """What `python -m module args` does in `folder`, its output in the file `said`."""
    os.chdir(folder)
    with output_file.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv[1:] = args
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Project:
    """A folder with a configuration, in which snakemake and stages run."""

    def __init__(self, folder: Path, config: dict):
        self.folder, self.config = folder, config
        (folder / "config").mkdir(parents=True, exist_ok=True)
        self.write_config()

    def write_config(self) -> None:
        (self.folder / "config" / "config.yaml").write_text(yaml.safe_dump(self.config))

    @property
    def run(self) -> Path:
        return self.folder / "data" / "runs" / self.config["run"]

    def snakemake(self, *args: str, check: bool = True) -> str:
        """Run snakemake here, two jobs of one thread at once; its output."""
        cores = ["--cores", "2", "--max-threads", "1"]
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *cores, *args]
        return self._call(command, check)

    def stage(self, name: str, *args: str, check: bool = True, configfile: bool = True) -> str:
        """Run one stage by hand; its output."""
        named = ["--configfile", str(self.folder / "config" / "config.yaml")] if configfile else []
        arguments = [*named, "--threads", "1"]
        output_file = self.folder / "output.txt"
        process = SERVER.Process(
            target=_as_main, args=(f"stages.{name}", [*arguments, *args], self.folder, output_file)
        )
        with mock.patch.dict(os.environ, self._environment()):
            process.start()
        process.join()
        return self._checked(output_file.read_text(), process.exitcode, check)

    def store(self, *args: str, check: bool = True) -> str:
        return self._call([sys.executable, "-m", "store", *args], check)

    @staticmethod
    def _environment() -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}

    def _call(self, command: list[str], check: bool) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, text=True)
        return self._checked(done.stdout + done.stderr, done.returncode, check)

    @staticmethod
    def _checked(text: str, code: int, check: bool) -> str:
        assert not check or code == 0, text
        assert check or code != 0, f"should have failed:\n{text}"
        return text


def pytest_addoption(parser) -> None:
    parser.addoption("--sample", type=int, help="run so many of the chosen tests")
    parser.addoption("--sample-seed", default="", help="any text, a commit say, that decides which")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before xdist reads the marks; the sample, after -m and -k have chosen
def pytest_collection_modifyitems(config, items):
    """Tests of the miniature go to one process, so that it is made once; --sample keeps some of the tests."""
    for item in items:
        if "miniature" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("miniature"))
    result = yield
    size = config.getoption("sample")
    if size is not None and size < len(items):
        kept = {*random.Random(config.getoption("sample_seed")).sample(range(len(items)), size)}
        config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i not in kept])
        items[:] = [item for i, item in enumerate(items) if i in kept]
    return result


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> Project:
    """The whole pipeline on ten scenes and a few steps."""
    project = Project(tmp_path_factory.mktemp("mini"), MINIATURE)
    project.snakemake()
    return project


@pytest.fixture()
def project(tmp_path) -> Project:
    """An empty folder with the miniature's configuration."""
    return Project(tmp_path, yaml.safe_load(yaml.safe_dump(MINIATURE)))


def as_in_a_clone(folder: Path) -> Project:
    """A folder that has what a clone has: configurations, vocabularies and the shipped weights."""
    project = Project(folder, {"run": "unused", "root": "unused"})
    for part in ("data/weights", "data/splits"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).symlink_to(ROOT / part)
    shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
    return project
