"""What a job hands out: pictures or rejects, checkpoints of equal bytes, random numbers of a row."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.checkpoint import read_safetensors
from pipeline.config import checked
from pipeline.execute import Action
from pipeline.job import Job
from pipeline.registry import stages
from store.blobs import Blobs, file_digest


@pytest.fixture()
def job_of(tmp_path):
    """A function from a stage's name and changes of its configuration to a job without inputs."""

    def job_of(name, seed=1, blobs=None, **changes):
        config = checked({"run": "r", "root": str(tmp_path), **changes})
        action = Action(stages()[name], config, "all", {}, seed, "code", {}, {})
        return Job(action, blobs=blobs or Blobs(tmp_path), scratch=tmp_path / "scratch", threads=2)

    return job_of


def test_equal_checkpoints_are_equal_bytes_and_say_how_names_become_vectors(job_of, tmp_path):
    digests = set()
    for i in range(5):
        job = job_of("train_detector", blobs=Blobs(tmp_path / str(i)), text_embedder={"model": "bert"})
        job.save_checkpoint({"b": torch.ones(2), "a": torch.zeros(3)}, {name: 1 for name in "qwertyuiop"})
        digests.add(job.outputs[0].digest)
    assert len(digests) == 1
    tensors, settings = read_safetensors(Blobs(tmp_path / "0").path(digests.pop(), ".safetensors"))
    assert settings["text_embedder"]["model"] == "bert" and settings["q"] == 1 and len(tensors) == 2


def test_many_files_are_kept_whatever_their_order_and_a_fault_in_one_is_told(job_of, tmp_path):
    job = job_of("report")
    with job.many_files() as save:
        for i in range(100):
            save(f"report/{i}.txt", str(i % 10).encode())
    assert sorted(int(output.shard) for output in job.outputs) == list(range(100))
    assert len({output.digest for output in job.outputs}) == 10
    for output in job.outputs:
        assert Blobs(tmp_path).path(output.digest, ".txt").read_text() == str(int(output.shard) % 10)
    with pytest.raises(TypeError), job.many_files() as save:
        save("report/x.txt", "no bytes")


@pytest.mark.parametrize("in_processes", [False, True])
def test_pictures_come_in_order_and_unreadable_ones_are_rejects(job_of, tmp_path, in_processes):
    for i in range(12):
        Image.new("RGB", (8, 6), (i, i, i)).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "03.png").write_text("no picture")
    (tmp_path / "07.png").unlink()
    digests = [file_digest(tmp_path / f"{i:02d}.png") if i != 7 else "" for i in range(12)]
    Image.new("RGB", (8, 6), (0, 0, 9)).save(tmp_path / "05.png")  # after ingest read it
    rows = [{"image_id": str(i), "path": f"{i:02d}.png", "sha256": digest} for i, digest in enumerate(digests)]
    rows.append({"image_id": "x", "path": "../x.png", "sha256": ""})
    job = job_of("propose")
    items = ((row, len(row["path"])) for row in rows)
    seen = [
        (row["image_id"], context, value)
        for row, context, value in job.pictures(items, colour, description="test", in_processes=in_processes)
    ]
    assert seen == [(str(i), 6, i) for i in range(12) if i not in (3, 5, 7)]
    counts = job.finish()
    assert counts["rejects"] == {"unknown_format": 1, "changed_image": 1, "missing_image": 1, "outside_root": 1}
    [output] = job.outputs
    rejects = pq.read_table(Blobs(tmp_path).path(output.digest, ".parquet")).to_pylist()
    assert [row["image_id"] for row in rejects] == ["3", "5", "7", "x"] and all(row["counted"] for row in rejects)


def colour(picture, row, context):
    return int(picture[0, 0, 0])


def test_a_rows_random_numbers_depend_on_its_key_alone(job_of):
    job = job_of("segment")
    with ThreadPoolExecutor(2) as pool:
        first, again = pool.map(lambda _: job.rng("image", "cat", 0).random(3), range(2))
    np.testing.assert_array_equal(first, again)
    assert job.rng("image", "cat", 1).random() != job.rng("image", "cat", 0).random()
    assert job_of("segment", seed=2).rng("image", "cat", 0).random() != first[0]
    with pytest.raises(RuntimeError, match="declare Stage"):
        job_of("gradcam", seed=None).rng("image")


def test_an_undeclared_section_is_not_handed_out(job_of):
    job = job_of("gradcam")
    assert job.shared.vision_language.model == "albef"
    with pytest.raises(AttributeError):
        _ = job.shared.optimizer
    assert json.dumps(job.records) == "{}"
