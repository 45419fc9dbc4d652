"""Captions in partitions: in order and whole on this machine's cores and on a Dask cluster."""

from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

from models.grounding.nouns import NounFinder
from pipeline import captions
from pipeline.captions import find_in_captions
from sources.toy import scenes as toy

FINDER = NounFinder({"cat": ["cat"], "dog": ["dog"]})


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with two workers, in this process, which is another than that of a stage by hand."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture()
def job(tmp_path):
    """Twelve captions in two files of three row groups each."""
    words = ("a cat and two dogs", "nothing known", "the dog")
    rows = [{"image_id": f"{i:02d}", "caption_id": str(i), "text": words[i % 3]} for i in range(12)]
    for shard in (0, 1):
        pq.write_table(pa.Table.from_pylist(rows[shard::2]), tmp_path / f"{shard}.parquet", row_group_size=2)
    paths = [tmp_path / f"{shard}.parquet" for shard in (0, 1)]
    return SimpleNamespace(paths=lambda table: paths, count=lambda table: len(rows), threads=1)


def mentions(job, scheduler: str = "") -> list[dict]:
    tables = find_in_captions(job, FINDER.find, scheduler=scheduler, description="")
    return [row for table in tables for row in table.to_pylist()]


def test_every_caption_gives_its_mentions_or_one_row_without(job):
    rows = mentions(job)
    assert [row["caption_id"] for row in rows[:5]] == ["0", "0", "2", "4", "6"]
    named = [(row["category"], row["surface"], row["start"], row["end"], row["count"]) for row in rows[:4]]
    assert named == [("cat", "cat", 2, 5, 1), ("dog", "dogs", 14, 18, 2), ("dog", "dog", 4, 7, 1), ("", "", -1, -1, 0)]
    assert len({row["caption_id"] for row in rows}) == 12


@pytest.mark.parametrize("threads", [1, 2])
def test_partitions_change_no_row_and_no_order(job, monkeypatch, threads):
    whole = mentions(job)
    monkeypatch.setattr(captions, "GROUPS", 1)
    job.threads = threads
    assert mentions(job) == whole


def test_no_captions_give_no_table(job):
    job.count = lambda table: 0
    assert mentions(job) == []


def test_a_cluster_gives_the_same_rows_in_the_same_order(job, monkeypatch, scheduler):
    whole = mentions(job)
    monkeypatch.setattr(captions, "GROUPS", 1)
    assert mentions(job, scheduler) == whole


def test_the_stage_writes_the_same_bytes_on_a_cluster(project, scheduler):
    for split in ("train", "val"):
        toy.write_split(project.folder / "data" / "toy", split, 6, 1)
    for stage in ("ingest", "categories", "nouns"):
        project.stage(stage)
    nouns = (project.run / "nouns" / "0.parquet").read_bytes()
    assert len(pd.read_parquet(project.run / "nouns"))
    cluster = ("--captions.scheduler", scheduler, "--into", "cluster")
    assert "nothing new" in project.stage("nouns", *cluster), "where it is done counts for nothing"
    assert "nothing new" not in project.stage("nouns", *cluster, "--recompute")
    assert (project.run.parent / "cluster" / "nouns" / "0.parquet").read_bytes() == nouns
