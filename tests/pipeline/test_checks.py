"""What a stage reads is checked by size always, and by digest where that is asked for."""

import pytest

from sources.toy import scenes as toy
from store.fingerprint import ROOT


@pytest.fixture()
def ingested(project):
    """A project whose nouns are known."""
    for split in ("train", "val"):
        toy.write_split(project.folder / "data" / "toy", split, 6, 1)
    for stage in ("ingest", "categories", "nouns"):
        project.stage(stage)
    return project


def test_an_input_that_changed_in_the_store_is_seen_by_its_digest_where_that_is_checked(ingested):
    blob = (ingested.run / "captions" / "0.parquet").resolve()
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    assert "nothing new" in ingested.stage("nouns"), "a size costs nothing, a digest a whole read"
    output = ingested.stage("nouns", "--verify", check=False)
    assert f"{blob.name} does not hold what its name says" in output and "Traceback" not in output
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    assert "nothing new" in ingested.stage("nouns", "--verify")
    blob.write_bytes(content[:-1])
    output = ingested.stage("nouns", check=False)
    assert f"{blob.name} is missing or cut short" in output and "Traceback" not in output


def test_snakemake_finds_the_default_profile_by_itself(project):
    plan = project.snakemake("-n", "--until", "toy")
    assert f"Using workflow specific profile {ROOT / 'profiles' / 'default'}" in plan
