"""A data set in a bucket, by the commands that a user types: the same tables as from its folder, also without a network."""

import http.server
import re
import threading
from functools import partial

import pytest
import yaml

from sources.toy import scenes as toy
from tests.bucket import KEY, SECRET, Bucket, Quiet
from tests.conftest import MINIATURE, Project

TABLES = ("images", "captions", "annotations", "labels", "judged", "nouns", "proposals")
GOAL = ("--until", "nouns", "selective_search")


@pytest.fixture(scope="module")
def bucket():
    made = Bucket()
    yield made
    made.close()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A data set in COCO's format, drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    toy.write_split(folder, "train", 8, 5)
    toy.write_split(folder, "val", 2, 6)
    return folder


@pytest.fixture()
def in_bucket(tmp_path, bucket, drawn, monkeypatch) -> Project:
    bucket.clear()
    bucket.upload(drawn, "sets/drawn")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return project_of(tmp_path / "bucket", "s3://pictures/sets/drawn")


def project_of(folder, root: str, **changes) -> Project:
    config = yaml.safe_load(yaml.safe_dump(MINIATURE))
    return Project(folder, config | {"root": root, "toy": {"train": 0, "val": 0}} | changes)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Of what is tested in this process the waits are short."""
    monkeypatch.setattr("structures.remote.WAITS", (0.01,) * 5)
    monkeypatch.setattr("structures.remote._failures", [0])


def content(project: Project, table: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((project.run / table).glob("*.parquet"))]


def size_of(folder) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and len(file.name) == 64)


@pytest.fixture(scope="module")
def tables(tmp_path_factory, drawn) -> dict[str, list[bytes]]:
    """The tables as they are of the folder."""
    project = project_of(tmp_path_factory.mktemp("folder"), str(drawn))
    for stage in ("ingest", "categories", "nouns", "selective_search"):
        project.stage(stage)
    return {table: content(project, table) for table in TABLES}


def test_the_command_makes_the_same_tables_of_a_bucket_as_of_a_folder_and_needs_no_network_after(
    in_bucket, bucket, tables, monkeypatch
):
    bucket.fail(503, 2, "GET .*jpg")
    bucket.fail("cut", 1, "instances_train")
    in_bucket.snakemake(*GOAL)
    assert {table: content(in_bucket, table) for table in TABLES} == tables
    jpegs = [request.path for request in bucket.read("jpg")]
    assert len(jpegs) == 10 + 2 and len(set(jpegs)) == 10, "each picture is fetched once, and what failed again"

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody listens
    output = in_bucket.snakemake(*GOAL)
    assert re.search(r"total +0\n", output) and "what is known of before is taken" in output, output
    in_bucket.stage("ingest", "--recompute")
    in_bucket.stage("selective_search", "--recompute")
    assert {table: content(in_bucket, table) for table in TABLES} == tables

    for file in in_bucket.folder.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_cache_smaller_than_the_data_set_changes_no_result_and_stays_within_its_bound(in_bucket, bucket, tables):
    pictures = sum(len(file) for file in (bucket.get(key) for key in bucket.keys()) if file.startswith(b"\xff\xd8"))
    most = pictures // 2
    in_bucket.config["cache"] = {"folder": "kept", "bytes": most}
    in_bucket.write_config()
    for stage in ("ingest", "selective_search"):
        in_bucket.stage(stage)
        assert 0 < size_of(in_bucket.folder / "kept") <= most
    assert {table: content(in_bucket, table) for table in TABLES if table != "nouns"} == {
        table: rows for table, rows in tables.items() if table != "nouns"
    }


def test_a_server_of_the_web_gives_the_same_tables(tmp_path, drawn, tables):
    handler = partial(Quiet, directory=str(drawn))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        project = project_of(tmp_path / "web", f"http://127.0.0.1:{web.server_port}")
        project.stage("ingest")
        web.shutdown()
    assert content(project, "images") == tables["images"] and content(project, "captions") == tables["captions"]


def test_what_changes_in_the_bucket_is_noticed_and_what_is_wrong_with_it_said_in_a_line(in_bucket, bucket, monkeypatch):
    ingest = f"data/runs/{in_bucket.config['run']}/manifests/ingest/all.json"
    in_bucket.snakemake(ingest)
    key = next(key for key in bucket.keys() if key.endswith(".jpg"))
    bucket.put(key, bucket.get(key) + b" ")
    assert "Params have changed" in in_bucket.snakemake(ingest, "-n")

    bucket.fail(403, 100, "")
    output = in_bucket.snakemake(ingest, check=False)
    assert "s3://pictures/sets/drawn/" in output and "FSSPEC_S3_ANON=true" in output and "Traceback" not in output
    in_bucket.config["root"] = f"s3://{KEY}:{SECRET}@pictures/sets/drawn"
    in_bucket.write_config()
    output = in_bucket.snakemake(ingest, check=False)
    assert "put credentials into the environment" in output and SECRET not in output


def test_pictures_that_can_not_be_reached_count_as_missing_ones(in_bucket, bucket):
    from types import SimpleNamespace

    from pipeline.picture_list import Picture, PictureList
    from stages.ingest import _inspect
    from structures.addresses import open_root

    root = open_root("s3://pictures/sets/drawn", {"folder": str(in_bucket.folder / "kept"), "bytes": 10**9})
    names = [key.removeprefix("sets/drawn/") for key in bucket.keys() if key.endswith(".jpg")]
    bucket.fail(503, 100, f"GET /pictures/sets/drawn/{names[3]}")

    def counted(share: float) -> list:
        rejects = []
        params = SimpleNamespace(max_pixels=10**7, max_missing_fraction=share, holdout=0)
        job = SimpleNamespace(root=root, threads=2, params=params)
        job.reject = lambda image_id, reason, detail, *key, counted=True: rejects.append(
            (image_id, reason, detail, counted)
        )
        with PictureList(in_bucket.folder / "list") as pictures:
            pictures.add(Picture(name, 0, "train", name, None, None) for name in [*names, "train/none.jpg"])
            _inspect(job, pictures, hold_out=set())
            assert [picture.image_id for picture in pictures.usable()] == sorted({*names} - {names[3]})
        return rejects

    [lost, missing] = sorted(counted(0.2))
    assert (
        lost[:2] == (names[3], "unreachable_image")
        and not lost[3]
        and f"s3://pictures/sets/drawn/{names[3]} " in lost[2]
    )
    assert missing[:2] == ("train/none.jpg", "missing_image") and not missing[3]
    assert all(row[3] for row in counted(0.15))
