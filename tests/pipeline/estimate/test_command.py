"""`python -m pipeline estimate`, and what snakemake says of a disk that is too small."""

import os
import re
import shutil

import pytest

from pipeline.config import checked, load
from pipeline.estimate.disk import shortage
from pipeline.estimate.jobs import PlannedJob
from pipeline.estimate.measured import measured_jobs
from pipeline.parameters import code_fingerprint
from pipeline.registry import stages
from store.blobs import write_atomically
from store.fingerprint import ROOT
from store.manifest import Manifest, Run, memo_path
from tests.conftest import Project


def estimate(project: Project, *args: str, check: bool = True) -> str:
    return project._fork(["pipeline", "estimate", *args], {}, check)


def rows(text: str) -> dict[str, list[str]]:
    """{stage: its cells} of the table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells[2:]}


@pytest.mark.xdist_group("estimate")
def test_what_is_done_is_not_counted_again(miniature):
    found = rows(estimate(miniature, "--config", "segment={margin: 0.3}", "--price", "2", "--cpu-price", "3"))
    assert "segment" in found and "train_detector" in found, "and what is made of it"
    assert not {"ingest", "gradcam", "selective_search"} & found.keys()
    everything = rows(estimate(miniature, "--all"))
    assert {"ingest", "gradcam", "train_student", "toy"} <= everything.keys()
    assert sum("measured (mini)" in row[-1] for row in everything.values()) > 15


def test_nothing_is_needed_to_estimate_a_run_but_its_configuration(project):
    text = estimate(project, "--until", "select_boxes", "--gpus", "2", "--cores", "4")
    found = rows(text)
    assert "10 training and 6 validation pictures, 32 captions" in text
    assert found["selective_search"][:2] == ["1", "10 images"] and "shipped" in found["selective_search"][-1]
    assert found["gradcam"][0] == "1" and "NVIDIA H200" in found["gradcam"][-1]
    assert "train_detector" not in found and "4 cores and 2 GPUs" in text
    assert not (project.folder / "data" / "store").exists()


def test_a_network_of_the_published_size_is_not_estimated_by_the_embedded_runs(project):
    told = ("--images", "118287", "--val-images", "5000", "--captions", "591753", "--gpus", "0", "--cores", "2")
    text = estimate(project, "--configfile", str(ROOT / "config/coco.yaml"), *told, "--until", "propose")
    row = rows(text)["propose"]
    assert re.fullmatch(r"(7|8)\d\.\d h", row[2]) and row[-1].startswith("shipped (2 cores"), row
    assert "not counted" not in text and "images: given" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "gradcm={iterations: 1}"], "unknown key gradcm: did you mean gradcam"),
        (["--cores", "0"], "--cores 0: at least 1"),
        (["--config", "nonsense"], "--config nonsense: "),
        (["--configfile", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(project, arguments, message):
    text = estimate(project, *arguments, check=False)
    assert message in text and "Traceback" not in text


def test_a_job_that_was_remembered_measured_nothing(miniature):
    data = miniature.folder / "data"
    jobs = measured_jobs(data)
    assert {"gradcam", "train_detector", "detect"} <= {job.stage for job in jobs}
    assert {job.stage for job in jobs} <= stages().keys()
    manifest = Run(data, "mini").read_manifest("gradcam", "0")
    memo = memo_path(data, manifest.key)
    status = memo.stat()
    try:
        os.utime(memo, (0, 0))
        assert "gradcam" not in {job.stage for job in measured_jobs(data)}
    finally:
        os.utime(memo, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_units_of_earlier_runs_are_what_their_tables_hold(miniature):
    jobs = {job.stage: job for job in measured_jobs(miniature.folder / "data")}
    pairs = Run(miniature.folder / "data", "mini").read_manifest("gradcam", "0").counts["rows_out"]["gradcam"]
    assert jobs["gradcam"].units == 3 * pairs and jobs["gradcam"].rows == pairs
    assert jobs["selective_search"].units == 10 and jobs["ingest"].units == 16
    assert jobs["train_detector"].units == 4 * 2
    assert jobs["train_student"].depends["backbone"] == "small", "as the teacher was that it began as"


def planned(rules: list[str], config: dict) -> list[PlannedJob]:
    return [PlannedJob(rule, config["run"], "0" if rule == "gradcam" else "all", done=False) for rule in rules]


@pytest.mark.parametrize(
    ("free", "scenes", "expected"),
    [
        (10**9, 16, None),  # a small run, whatever the disk
        (10**12, 10**6, None),
        (10**9, 10**6, "certain"),
        (10**9, 600_000, "perhaps"),  # above, by less than an estimate may be off
    ],
)
def test_a_run_is_refused_where_it_certainly_does_not_fit(tmp_path, monkeypatch, free, scenes, expected):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**13, 10**13 - free, free))
    monkeypatch.chdir(tmp_path)
    config = checked(load(ROOT / "config" / "config.yaml") | {"toy": {"train": scenes, "val": 0, "seed": 1}})
    jobs = planned(["ingest", "selective_search"], config)
    short = shortage(jobs, {config["run"]: config}, config["run"], tmp_path / "data")
    assert (None if short is None else "certain" if short.is_certain else "perhaps") == expected


def test_what_the_memo_may_know_is_not_counted_as_certain(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**13, 10**13, 10**9))
    monkeypatch.chdir(tmp_path)
    config = checked(load(ROOT / "config" / "config.yaml") | {"toy": {"train": 10**6, "val": 0, "seed": 1}})
    code = code_fingerprint(stages()["selective_search"], config)
    memo = Manifest(stage="selective_search", shard="0", key="k", fingerprint=code, seed=1, params={})
    write_atomically(memo_path(tmp_path / "data", "k"), memo.to_json())
    short = shortage(planned(["selective_search"], config), {"toy": config}, "toy", tmp_path / "data")
    assert short and short.sure == 0 and not short.is_certain


def small_disk(folder, free: int) -> dict[str, str]:
    """An environment in which Python finds so many bytes free."""
    (folder / "sitecustomize.py").write_text(
        f"import shutil\nusage = shutil._ntuple_diskusage\nshutil.disk_usage = lambda path: usage(10**12, 10**12 - {free}, {free})\n"
    )
    return {"PYTHONPATH": f"{folder}{os.pathsep}{Project._environment()['PYTHONPATH']}"}


def test_snakemake_starts_no_run_that_does_not_fit_on_the_disk(project, tmp_path_factory, monkeypatch):
    environment = small_disk(tmp_path_factory.mktemp("python"), 10**9)
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.setattr(Project, "_environment", staticmethod(lambda: dict(os.environ)))
    big = ["--config", "toy={train: 1000000}", "disk_space=stop"]
    with pytest.raises(AssertionError) as stopped:
        project.snakemake_of_its_own("--until", "selective_search", *big)
    said = str(stopped.value)
    assert re.search(r"estimated to need [\d.]+ GB .* 1 GB are free", said) and "disk_space=warn" in said
    assert "Traceback" not in said and not (project.folder / "data" / "toy").exists()
