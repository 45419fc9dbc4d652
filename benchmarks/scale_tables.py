"""What a stage takes of time and memory on tables of any number of images: benchmarks.scale's stages behind ingest.

A stage runs as Snakemake runs it, in a process of its own: one that runs for each shard on one shard of all images, one that
gathers shards on shards of 10,000 images at most. Seconds of the processor, the largest
resident memory of its process, and what that grows by from the least to the largest number of images, are printed and kept in
scale.json.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.made_tables import MadeTables
from benchmarks.measure import machine
from benchmarks.runs import FEW_STEPS, Place
from pipeline.config import load
from pipeline.registry import stages
from sources.vocabulary import Vocabulary

RESULTS = Path(__file__).with_name("scale.json")
VOCABULARY = Vocabulary(base=("cat", "dog", "umbrella"), novel=("kite",))
IN_SHARD = 10_000  # images
SIZE = (96, 128)  # height and width of the picture
# Stages that run before, on the same tables, for a checkpoint.
BEFORE = {
    "finetune_detector": ("train_detector",),
    "train_teacher": ("pretrain_captions",),
    "train_student": ("pretrain_captions", "train_teacher"),
}
CONFIG = FEW_STEPS | {
    "rounds": 1,
    "propose": {"by": "wspn"},
    "pseudo_labels": {"measures": ["score", "agreement"]},
    "pretrain_captions": {"steps": 4, "batch": 2, "milestones": [3], "warmup": 0, "words": "vocabulary"},
    "train_teacher": {"steps": 4, "batch": 2, "milestones": [3], "warmup": 0},
    "train_student": {
        "steps": 4,
        "batch": 2,
        "milestones": [3],
        "warmup": 0,
        "robust": {"eta_steps": 2, "eta_images": 8},
    },
    "student_labels": {"labels": "ovis"},
    "export": {"formats": ["coco"]},
    "evaluate_labels": {"scores": []},
    "gallery": {"images": 100},
    "detectors": ["train_detector", "train_student"],
}
MEASURED = (
    *("train_wspn", "train_detector", "finetune_detector", "pretrain_captions", "train_teacher", "train_student"),
    *("nouns", "select_boxes", "label_quality", "pseudo_labels", "student_labels"),
    *("evaluate", "evaluate_labels", "report", "gallery", "export"),
)


def prepare(names: Sequence[str], rows: int, folder: Path) -> Place:
    """A place in which these stages find what they read, of so many images. folder: an empty one."""
    of_shards = all(stages()[name].per == "shard" for name in names)
    in_shard = rows if of_shards else IN_SHARD
    place = Place(folder, 0, 0, CONFIG | {"shards": -(-rows // in_shard)})
    picture = folder / "data/toy/picture.png"
    picture.parent.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    settings = load(place.config)
    before = [stage for name in names for stage in BEFORE.get(name, ())]
    wanted = {artifact for name in (*before, *names) for artifact in stages()[name].inputs(settings)}
    made = MadeTables(rows, picture, picture.name, SIZE, VOCABULARY, in_shard)
    made.write(folder / "data", settings["run"], sorted(wanted - {*before}), settings["detectors"])
    for stage in before:
        place.usage(*command(stage, place))
    return place


def command(stage: str, place: Place) -> list[str]:
    """What runs a stage there, after python -m."""
    return [f"stages.{stage}", "--configfile", str(place.config), "--threads", "1"]


def measure(stage: str, rows: int, folder: Path) -> tuple[float, int]:
    """Seconds of the processor, and MiB of the largest resident memory, of a stage on made tables of so many images."""
    place = prepare([stage], rows, folder)
    return place.usage(*command(stage, place))


def tables(args: argparse.Namespace) -> None:
    """On made tables, in one shard."""
    lines = []
    for rows in sorted(args.rows):
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            seconds, mib = measure(args.stage, rows, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        lines.append({"rows": rows, "seconds": round(seconds, 1), "mib": mib})
        print(f"{rows:>9,} images: {seconds:8.1f} s, {seconds / rows * 1e6:7.1f} µs an image; {mib} MiB", flush=True)
    growth = lines[-1]["mib"] / lines[0]["mib"] - 1
    print(f"{args.stage}: memory grows by {100 * growth:.1f} %", flush=True)
    kept = {} if len(lines) < 3 else {"per_image": round(_per_image(*lines[-2:]) / _per_image(*lines[:2]), 3)}
    if kept:
        print(f"{args.stage}: a further image takes {kept['per_image']} of the time among many", flush=True)
    result = {"device": machine("cpu"), "growth": round(growth, 3), **kept, "runs": lines}
    _keep(args.stage, result)


def _per_image(fewer: dict, more: dict) -> float:
    """Seconds that a further image takes, without what a stage takes for any number."""
    return (more["seconds"] - fewer["seconds"]) / (more["rows"] - fewer["rows"])


def _keep(stage: str, result: dict) -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept[stage] = result
    RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
