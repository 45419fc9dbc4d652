"""What the environment says besides the configuration: of other launchers nothing counts."""

import pandas as pd
import pytest

FOREIGN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture()
def ranked(project, monkeypatch):
    """A project in a shell that a launcher of processes started: torchrun, or a cluster's operator."""
    project.config |= {"toy": {"train": 4, "val": 2}}
    project.write_config()
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    return project


def test_stages_through_snakemake_write_whatever_rank_the_environment_names(ranked):
    ranked.snakemake("--until", "nouns")
    assert len(pd.read_parquet(ranked.run / "images")) == 6 and len(pd.read_parquet(ranked.run / "nouns")) > 0
    assert (ranked.folder / "logs/mini/nouns/0.log").read_text()


def test_a_training_by_hand_writes_whatever_rank_the_environment_names(ranked):
    ranked.stage(
        "pretrain_backbone", "--objects", "4", "--size", "16", "--steps", "2", "--batch", "2", "--into", "mini"
    )
    assert (ranked.run / "pretrain_backbone" / "all.safetensors").stat().st_size > 0
    assert len(pd.read_parquet(ranked.run / "pretrain_backbone" / "_curve")) > 0
