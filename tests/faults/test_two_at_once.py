"""Two snakemake on one data folder at once, of two runs or of one, with `gc` and `verify` beside them."""

import random

import pytest

from tests.faults.runs import Snakemake, copy_of, forget, manifests

pytestmark = pytest.mark.faults


def until_done(project, rng: random.Random, *running: Snakemake) -> None:
    """Call gc and verify at random moments until every snakemake has ended."""
    while any(snakemake.ends(rng.uniform(0, 3)) is None for snakemake in running):
        words = rng.choice([("gc",), ("gc", "--keep-memo"), ("verify",), ("verify", "--repair")])
        said = project.store(*words)
        assert "verify" not in words or " 0 broken or missing" in said, said


def test_two_runs_share_what_they_make(campaign, tmp_path, miniature):
    wanted = manifests(miniature)

    def check(rng: random.Random) -> None:
        project = copy_of(miniature, tmp_path / "project")
        first = forget(project, rng)
        one, other = Snakemake(project), Snakemake(project, "--config", "run=other")
        until_done(project, rng, one, other)
        for snakemake in (one, other):
            assert snakemake.ends() == 0, snakemake.said()
        assert manifests(project) == manifests(project, "other") == wanted, f"from {first} on"

    campaign.run(check, each=0.1)


def test_of_two_of_one_run_the_second_is_refused_or_has_nothing_to_do(campaign, tmp_path, miniature):
    wanted = manifests(miniature)

    def check(rng: random.Random) -> None:
        project = copy_of(miniature, tmp_path / "project")
        first = forget(project, rng)
        one = Snakemake(project)
        one.ends(rng.uniform(0, 10))
        other = Snakemake(project)
        until_done(project, rng, one, other)
        done, refused = sorted([one, other], key=lambda snakemake: snakemake.ends())
        assert done.ends() == 0, done.said()
        alone = refused.ends() != 0
        assert not alone or "is being made by another snakemake (process" in refused.said(), refused.said()
        assert "Traceback" not in refused.said()
        assert manifests(project) == wanted, f"from {first} on"

    campaign.run(check, each=0.1)
