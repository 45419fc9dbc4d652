"""Kills of Snakemake, with all that it started or alone, at random moments; restarted by the one command until done."""

import random

import pytest

from pipeline.config import checked
from pipeline.lineage import ancestors
from tests.faults.runs import Snakemake, copy_of, forget, manifests

pytestmark = pytest.mark.faults
MOST = 16  # kills in a case
PARTS = 4  # tests that share the cases, so that several processors do


@pytest.fixture(scope="module")
def otherwise(miniature, tmp_path_factory):
    """The miniature after another parameter was tried: its run lists other results than those that are asked for."""
    project = copy_of(miniature, tmp_path_factory.mktemp("otherwise") / "project")
    project.snakemake("--config", "select_boxes={instances: 2}", "--until", "select_boxes")
    assert manifests(project) != manifests(miniature)
    return project


@pytest.mark.parametrize("part", range(PARTS))
def test_a_killed_run_goes_on_by_the_same_command_to_the_same_bytes(campaign, tmp_path, miniature, otherwise, part):
    wanted = manifests(miniature)

    def check(rng: random.Random) -> None:
        project = copy_of(rng.choice([miniature, otherwise]), tmp_path / "project")
        first = forget(project, rng)
        for _ in range(MOST):
            snakemake = Snakemake(project)
            if snakemake.ends(rng.uniform(1, rng.choice([2, 4, 8]))) is not None:
                break
            snakemake.kill(alone=rng.random() < 0.25)
            campaign.count("kills")
        else:
            snakemake = Snakemake(project)
        assert snakemake.ends() == 0, snakemake.said()
        assert manifests(project) == wanted, f"from {first} on"
        assert "0 broken or missing" in project.store("verify")
        assert "Nothing to be done" in project.snakemake()

    campaign.run(check, each=1 / MOST / PARTS)


def test_a_kill_before_a_job_has_made_anew_what_snakemake_removed_for_it(campaign, tmp_path, miniature, otherwise):
    wanted, config = manifests(miniature), checked(miniature.config)
    made_anew = [name for name in wanted if "select_boxes" in ancestors([name.split("/")[0]], config)]

    def check(rng: random.Random) -> None:
        project = copy_of(otherwise, tmp_path / "project")
        manifest = project.run / "manifests" / rng.choice(made_anew)
        snakemake = Snakemake(project)
        while manifest.exists() and snakemake.ends(0.001) is None:
            pass
        snakemake.kill(alone=False)
        campaign.count("kills")
        snakemake = Snakemake(project)
        assert snakemake.ends() == 0, snakemake.said()
        assert manifests(project) == wanted, f"killed before {manifest} was made"
        assert "Nothing to be done" in project.snakemake()

    campaign.run(check, each=1 / 4 / MOST)
