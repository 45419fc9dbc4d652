"""The jobs of earlier runs of a data folder: how long each took, and how much was done in it.

Seconds stand in Snakemake's benchmark files, what was done in the manifests beside them. A job that found its result in the memo
measured nothing: its memo is older than the job.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.estimate.work import WORK, Settings, Sizes, depends
from pipeline.registry import stages
from store.manifest import Manifest, Run, memo_path
from structures.errors import UserError

_TORCH = 300.0  # MiB that a process with torch has at least


@dataclass(frozen=True)
class Job:
    """One measured job of an earlier run."""

    run: str
    stage: str
    device: str
    depends: dict
    seconds: float
    units: float
    rows: float
    size: float
    memory: float


def measured_jobs(data: Path) -> list[Job]:
    """Every job that Snakemake measured in the runs of a data folder while it computed."""
    manifests: dict[str, list[Manifest]] = {}
    for folder in sorted((data / "runs").glob("*")):
        if (folder / "benchmarks").is_dir():
            try:
                manifests[folder.name] = Run(data, folder.name).manifests()
            except (UserError, OSError):  # damaged, or of an earlier version: whoever runs snakemake is told
                continue
    trained = {
        output.digest: manifest
        for of_run in manifests.values()
        for manifest in of_run
        for output in manifest.outputs
        if output.suffix == ".safetensors"
    }
    jobs = [_job(data, run, manifest, trained) for run, of_run in manifests.items() for manifest in of_run]
    return [job for job in jobs if job]


def _job(data: Path, run: str, manifest: Manifest, trained: dict[str, Manifest]) -> Job | None:
    """A job, if it was measured. trained: the manifests of all checkpoints, by their digests."""
    work = WORK.get(manifest.stage)
    if work is None or manifest.stage not in stages():
        return None
    measured = _benchmark(data, run, manifest)
    if measured is None:
        return None
    settings, sizes = _settings(manifest, trained), sizes_of(data, manifest)
    try:
        units = work.units(sizes, settings)
    except KeyError:  # a parameter that was not there yet
        return None
    return Job(
        run=run,
        stage=manifest.stage,
        device=manifest.params.get("environment.device", "cpu"),
        depends=depends(manifest.stage, settings, manifest.shard, sizes),
        seconds=measured[0],
        memory=measured[1],
        units=units,
        rows=work.rows(sizes) if work.rows else units,
        size=sum(output.bytes for output in manifest.outputs),
    )


def _settings(manifest: Manifest, trained: dict[str, Manifest]) -> Settings:
    """The parameters of a manifest, and of the trainings of the checkpoints that it was made with, by the dotted keys of the
    configuration."""
    settings: Settings = {}
    for digest in manifest.input_digests & trained.keys():
        settings |= _settings(trained[digest], trained)
    stage = stages().get(manifest.stage)
    shared = {entry.split(".")[0] for entry in stage.shares} if stage else set()
    for key, value in manifest.params.items():
        settings[key if key.split(".")[0] in shared else f"{manifest.stage}.{key}"] = value
    return settings


def _benchmark(data: Path, run: str, manifest: Manifest) -> tuple[float, float] | None:
    """(seconds, MiB) of a job, if it was measured while it computed."""
    file = data / "runs" / run / "benchmarks" / manifest.stage / f"{manifest.shard}.tsv"
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            [row] = csv.DictReader(lines, delimiter="\t")
        seconds, ended = float(row["s"]), file.stat().st_mtime
        memory = float(row["max_rss"]) if row["max_rss"] not in ("NA", "-") else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    memo = memo_path(data, manifest.key)  # what a GPU computes otherwise each time has none
    remembered = memo.exists() and memo.stat().st_mtime < ended - seconds
    waited = stages()[manifest.stage].gpu and memory < _TORCH  # for another process, which did the same
    return None if remembered or waited else (seconds, memory)


def sizes_of(data: Path, manifest: Manifest) -> Sizes:
    """The sizes of what a job read and wrote: pictures by their split, other rows as its manifest counts them."""
    digests = [digest for row in manifest.inputs if row["artifact"] == "images" for digest in row["digests"]]
    digests += [output.digest for output in manifest.outputs if output.artifact == "images"]
    parts = [_pictures(data, digest) for digest in digests]
    rows = {**manifest.counts.get("rows_in", {}), **manifest.counts.get("rows_out", {})}

    def of(*tables: str) -> int:
        return next((rows[table] for table in tables if rows.get(table)), 0)

    return Sizes(
        train=sum(train for train, _, _ in parts),
        val=sum(val for _, val, _ in parts),
        pixels=sum(pixels for _, _, pixels in parts) / max(1, sum(train + val for train, val, _ in parts)),
        captions=of("captions", "labels"),
        pairs=of("gradcam", "pseudo_boxes", "pseudo_masks"),
        labels=of("kept_labels", "round_masks", "pseudo_masks", "teacher_masks", "student_labels"),
        detectors=sum(len(row["digests"]) for row in manifest.inputs if row["artifact"] == "detections") or 1,
    )


@cache
def _pictures(data: Path, digest: str) -> tuple[int, int, int]:
    """(training pictures, validation pictures, pixels of all) of a table of images; none where it is gone."""
    try:
        columns = ["split", "width", "height"]
        table = pq.read_table(data / "store" / digest[:2] / f"{digest}.parquet", columns=columns)
    except (OSError, ValueError, KeyError):
        return 0, 0, 0
    train = pc.sum(pc.equal(table["split"], "train")).as_py() or 0
    pixels = pc.sum(pc.multiply(pc.cast(table["width"], "int64"), pc.cast(table["height"], "int64"))).as_py() or 0
    return train, len(table) - train, pixels
