"""Whole runs: with nothing to do, with every result remembered, and how each stage's time and memory grow."""

import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from snakemake.utils import update_config

from benchmarks.measure import Row, seconds
from pipeline.config import checked
from pipeline.lineage import ancestors
from store.fingerprint import ROOT

FEW_STEPS = {
    "train_wspn": {"steps": 4},
    "train_detector": {"steps": 4, "milestones": [3], "warmup": 0},
    "finetune_detector": {"steps": 4, "milestones": [3], "warmup": 0},
}
CHEAP = {
    "vision_language": {"image_size": 96},
    "gradcam": {"iterations": 1},
    "selective_search": {"mode": "quick", "max_boxes": 100},
    "segment": {"side": 32, "grabcut": {"sweeps": 2, "rounds": 1}},
    "detect": {"max_detections": 10},
}


# Runs a module as python -m does, and writes its peak into a file. What getrusage says of a child is at least what its parent
# had in memory when it started it.
_WITH_PEAK = """
import atexit, runpy, sys
peak, sys.argv = sys.argv[1], sys.argv[2:]
def keep():
    with open("/proc/self/status") as status, open(peak, "w") as file:
        file.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
atexit.register(keep)
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Place:
    """A folder with the embedded configuration, scaled, in which stages and Snakemake run as in a clone."""

    def __init__(self, folder: Path, train: int, val: int, overrides: dict):
        self.folder = folder
        config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
        config |= {"toy": {"train": train, "val": val}, "tables": {}}
        update_config(config, overrides)
        for part in ("data/weights", "data/splits"):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).symlink_to(ROOT / part)
        (folder / "config").mkdir()
        self.config = folder / "config" / "config.yaml"
        self.config.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.order = ancestors(["report", "evaluate"], checked(config))

    def call(self, *command: str) -> tuple[float, int]:
        """Run a module of the project here: seconds, and the peak of its memory in MiB."""
        began = time.perf_counter()
        _, mib = self.usage(*command)
        return time.perf_counter() - began, mib

    def usage(self, *command: str) -> tuple[float, int]:
        """Run a module of the project here: seconds of the processor, and the peak of its memory in MiB."""
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
        peak = self.folder / "peak.txt"
        running = [sys.executable, "-c", _WITH_PEAK, str(peak), *command]
        with (self.folder / "output.txt").open("w+") as output:
            process = subprocess.Popen(running, cwd=self.folder, env=environment, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                raise RuntimeError(f"{' '.join(command)} failed:\n{output.read()[-3000:]}")
        return usage.ru_utime + usage.ru_stime, int(peak.read_text()) // 1024

    def snakemake(self, *args: str) -> float:
        return self.call("snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all", *args)[0]

    def draw(self, train: int, val: int) -> float:
        return self.call("sources.toy", "--out", "data/toy", "--train", str(train), "--val", str(val), "--seed", "1")[0]

    def stages(self) -> dict[str, tuple[float, int]]:
        """Run every stage by hand, in order: {stage: (seconds, MiB)}."""
        measured = {}
        for stage in self.order:
            print(f"  {stage}", file=sys.stderr, flush=True)
            measured[stage] = self.call(f"stages.{stage}", "--configfile", str(self.config))
            if stage == "detect":
                self.call("stages.detect", "--configfile", str(self.config), "--detector", "finetune_detector")
        return measured

    def rows(self, table: str) -> int:
        return sum(
            pq.read_metadata(file).num_rows for file in (self.folder / "data/runs/toy" / table).glob("*.parquet")
        )


@contextmanager
def _place(train: int, val: int, overrides: dict):
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder), train, val, overrides)


def nothing_to_do(device: str) -> list[Row]:
    """The row: snakemake where every file is up to date."""
    with _place(16, 8, FEW_STEPS | CHEAP) as place:
        place.snakemake()
        return [Row("nothing_to_do", "s", "17 rules", seconds(place.snakemake), wanted=5.0, bound=True)]


def all_remembered(device: str) -> list[Row]:
    """The row: the run's folder is gone, every stage's result is in the store."""
    with _place(16, 8, FEW_STEPS | CHEAP) as place:
        place.snakemake()
        before = {file.name for file in (place.folder / "data/store").rglob("*.*")}

        def again():
            shutil.rmtree(place.folder / "data/runs")
            place.snakemake()

        run_seconds = seconds(again)
        same = before == {file.name for file in (place.folder / "data/store").rglob("*.*")}
        agreement = "nothing new in the store" if same else "SOMETHING WAS COMPUTED"
        return [Row("all_remembered", "s", "17 rules", run_seconds, wanted=20.0, bound=True, agreement=agreement)]


def memory(device: str) -> list[Row]:
    """The row: each stage's peak at about 1,000 rows and at ten times as many; the largest growth."""
    peaks, counts = [], []
    for scenes in (500, 5000):
        with _place(scenes, scenes // 10, FEW_STEPS | CHEAP) as place:
            place.draw(scenes, scenes // 10)
            peaks.append({stage: mib for stage, (_, mib) in place.stages().items()})
            counts.append({table: place.rows(table) for table in ("captions", "gradcam", "pseudo_masks", "detections")})
    growth = {stage: peaks[1][stage] / peaks[0][stage] - 1 for stage in peaks[0]}
    worst = max(growth, key=growth.get)
    return [
        Row(
            "memory",
            "growth of a stage's peak",
            "; ".join(f"{table} {few:,} and {counts[1][table]:,}" for table, few in counts[0].items()),
            growth[worst],
            wanted=0.10,
            bound=True,
            runs=1,
            agreement=f"most in {worst}: {peaks[0][worst]} and {peaks[1][worst]} MiB",
            details={stage: [peaks[0][stage], peaks[1][stage]] for stage in peaks[0]},
        )
    ]


def growth(device: str) -> list[Row]:
    """The row: the exponent of each stage's time at 1, 2 and 4 times the scenes; 1 is linear. Trainings take fixed
    steps."""
    times = []
    for scenes in (100, 200, 400):
        with _place(scenes, scenes * 6 // 10, FEW_STEPS) as place:
            drawing_seconds = place.draw(scenes, scenes * 6 // 10)
            times.append({"toy": drawing_seconds} | {stage: taken for stage, (taken, _) in place.stages().items()})
    exponents = {stage: _slope([math.log(time[stage]) for time in times]) for stage in times[0]}
    worst = max(exponents, key=exponents.get)
    return [
        Row(
            "growth",
            "exponent",
            "100, 200 and 400 training scenes, 60, 120 and 240 validation scenes",
            exponents[worst],
            wanted=1.1,
            bound=True,
            runs=1,
            agreement=", ".join(f"{stage} {exponents[stage]:.2f}" for stage in exponents),
            details={stage: [round(time[stage], 2) for time in times] for stage in exponents},
        )
    ]


def _slope(logs: list[float]) -> float:
    """Of a line through the logarithms of times at 1, 2 and 4 times the work."""
    places = [math.log(2**i) for i in range(len(logs))]
    return statistics.linear_regression(places, logs).slope
