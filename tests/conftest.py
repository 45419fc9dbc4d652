"""Shared pieces of the tests: a miniature of the whole pipeline, run once a session."""

import fcntl
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import yaml

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes test side by side
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import preloaded  # noqa: E402 (they are found by the line above)
from tests.browser.chromium import WHY_NOT  # noqa: E402
from training.processes import LAUNCHED  # noqa: E402

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


_ONE_THREAD = threading.Lock()

# Functions in a process of their own are forked off one that has the slow imports behind it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pandas", "pyarrow.parquet", "torch", "models.xpm.student", "models.grounding.grounder"])


def preloaded_python() -> tuple:
    """The preloaded Python of all processes that test, which the first that needs it starts: what keeps it alive."""
    with (
        _ONE_THREAD
    ):  # of two threads that both took a lease the cache would keep one; the server might end with the other
        return _lease_of_preloaded_python()


@cache
def _lease_of_preloaded_python() -> tuple:
    path, server = Path(os.environ[preloaded.VARIABLE]), None
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.with_suffix(".bash").write_text(preloaded.instead_of(sys.executable))
            environment = {name: value for name, value in Project._environment().items() if name != "PYTHONPATH"}
            server = subprocess.Popen(
                [sys.executable, preloaded.__file__, "serve", path], env=environment, process_group=0
            )
        while not path.exists():
            assert server.poll() is None, "the preloaded Python did not start"
            time.sleep(0.01)
        return preloaded.lease(str(path)), server


def forked(words: list[str], folder: Path, environment: dict, limit: float | None = None) -> tuple[int, str]:
    """Do what `python -m WORDS` does in a fork of the preloaded Python, in so many seconds at most: its exit status, and what
    it says."""
    preloaded_python()
    with tempfile.TemporaryFile() as output:
        code = preloaded.call(words, folder, dict(environment), output.fileno(), limit)
        output.seek(0)
        return code, output.read().decode(errors="replace")


def on_two_processes(script: Path, *args: str) -> None:
    """Run a script in two processes that train together, as torchrun would start them, in its folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {LAUNCHED: "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    def run(rank: str) -> tuple[int, str]:
        environment = Project._environment() | shared | {"RANK": rank, "LOCAL_RANK": rank}
        return forked([script.stem, *args], script.parent, environment, limit=300)

    with ThreadPoolExecutor(2) as pool:
        for code, said in pool.map(run, "01"):
            assert code == 0, said


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
        """Run snakemake here, two jobs of one thread at once; its output. It and its jobs are forks of the preloaded
        Python."""
        preloaded_python()
        instead = {"BASH_ENV": str(Path(os.environ[preloaded.VARIABLE]).with_suffix(".bash"))}
        return self._fork(["snakemake", *self._for_snakemake(*args)], instead, check)

    def snakemake_of_its_own(self, *args: str) -> str:
        """The same, but it and each job are interpreters of their own."""
        return self._call([sys.executable, "-m", "snakemake", *self._for_snakemake(*args)], True)

    @staticmethod
    def _for_snakemake(*args: str) -> list[str]:
        return ["--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--max-threads", "1", *args]

    def stage(self, name: str, *args: str, check: bool = True, configfile: bool = True) -> str:
        """Run one stage by hand, in a fork of the preloaded Python; its output."""
        named = ["--configfile", str(self.folder / "config" / "config.yaml")] if configfile else []
        return self._fork([f"stages.{name}", *named, "--threads", "1", *args], {}, check)

    def store(self, *args: str, check: bool = True) -> str:
        return self._fork(["store", *args], {}, check)

    @staticmethod
    def _environment() -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}

    def _call(self, command: list[str], check: bool) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, text=True)
        return self._checked(done.stdout + done.stderr, done.returncode, check)

    def _fork(self, words: list[str], environment: dict[str, str], check: bool) -> str:
        code, text = forked(words, self.folder, self._environment() | environment)
        return self._checked(text, code, check)

    @staticmethod
    def _checked(text: str, code: int, check: bool) -> str:
        assert not check or code == 0, text
        assert check or code != 0, f"should have failed:\n{text}"
        return text


def pytest_configure(config) -> None:
    if not hasattr(config, "workerinput"):  # the process that starts the others, or does all
        folder = tempfile.mkdtemp(prefix="cap2mask-tests-", dir="/tmp")  # of a socket the path has to be short
        os.environ[preloaded.VARIABLE] = f"{folder}/python"


def pytest_unconfigure(config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(Path(os.environ[preloaded.VARIABLE]).parent)


def pytest_terminal_summary(terminalreporter) -> None:
    if WHY_NOT and "skipped" in terminalreporter.stats:
        terminalreporter.write_line(f"the gallery's page was not tested in a browser: {WHY_NOT}")


def pytest_addoption(parser) -> None:
    parser.addoption("--sample", type=int, help="run so many of the chosen tests")
    parser.addoption("--sample-seed", default="", help="any text, a commit say, that decides which")


def _place(item) -> tuple[int, bool]:
    """Where a test stands among the others: stages that run without the miniature, which is made meanwhile; what needs it,
    tests of one group first; and last the many short ones, by which all processes end at the same time."""
    without = 0 if item.path.parent.name in ("stages", "pipeline") else 2
    return 1 if "miniature" in item.fixturenames else without, item.get_closest_marker("xdist_group") is None


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the sample, after -m and -k have chosen
def pytest_collection_modifyitems(config, items):
    """The first test makes the miniature, the others stand in the order of _place; --sample keeps some of the tests."""
    items.sort(key=_place)
    first = next((i for i, item in enumerate(items) if "miniature" in item.fixturenames), 0)
    items[:] = items[first : first + 1] + items[:first] + items[first + 1 :]
    result = yield
    size = config.getoption("sample")
    if size is not None and size < len(items):
        kept = {*random.Random(config.getoption("sample_seed")).sample(range(len(items)), size)}
        config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i not in kept])
        items[:] = [item for i, item in enumerate(items) if i in kept]
    return result


@pytest.fixture(scope="session")
def miniature(tmp_path_factory, worker_id) -> Project:
    """The whole pipeline on ten scenes and a few steps, each stage by its command; made by the first process that needs
    it, of which each has a copy."""
    own = tmp_path_factory.mktemp("mini") / "project"
    if worker_id == "master":  # alone
        project = Project(own, MINIATURE)
        project.snakemake_of_its_own()
        return project
    shared = tmp_path_factory.getbasetemp().parent / "miniature"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "whole").exists():
            Project(shared / "project", MINIATURE).snakemake_of_its_own()
            (shared / "whole").touch()
    shutil.copytree(shared / "project", own, symlinks=True)
    return Project(own, MINIATURE)


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
