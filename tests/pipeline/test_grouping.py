"""What a cluster is asked for: short jobs together, a job that failed with more; and nothing of that without a cluster."""

import re
from collections import Counter

import pytest
import yaml

from pipeline.registry import stages
from pipeline.workflow import Workflow
from store.fingerprint import ROOT
from tests.conftest import MINIATURE, Project
from tests.pipeline.test_workflow import order

PROFILE = ROOT / "profiles" / "slurm"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(
        tmp_path_factory.mktemp("grouping"), MINIATURE | {"shards": 40, "propose": {"by": "selective_search"}}
    )


def on_cluster(folder) -> tuple[str, ...]:
    """Flags of a dry run with the profile, but for its executor, which may not be installed: a dry run has its own, which
    puts jobs together alike."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    own = {key: value for key, value in profile.items() if key != "executor" and not key.startswith("slurm-")}
    (folder / "profile").mkdir()
    (folder / "profile" / "config.yaml").write_text(yaml.safe_dump(own))
    return ("-n", "--profile", str(folder / "profile"), "--cores", str(own["cores"]))


def short_stages() -> list[str]:
    return sorted(name for name, stage in stages().items() if stage.short)


def submissions(output: str) -> Counter:
    """How many jobs of each rule, and how many groups, an executor is given."""
    return Counter(re.findall(r"^(?:\[.*\] Group job|rule) (\w+)", output, re.M))


def test_the_profile_names_the_stages_that_declare_themselves_short():
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert sorted(entry.split("=")[0] for entry in profile["group-components"]) == short_stages()
    assert all(stages()[name].per == "shard" for name in short_stages())


def test_shards_of_a_short_stage_are_submitted_together(project):
    output = project.snakemake(*on_cluster(project.folder), "--until", "select_boxes")
    given = submissions(output)
    assert given == {
        "toy": 1,
        "ingest": 1,
        "categories": 1,
        "nouns": 2,
        "selective_search": 40,
        "gradcam": 40,
        "propose": 40,
        "select_boxes": 2,
    }
    shards = re.findall(r"^ +rule nouns:\n(?: .*\n)*? +wildcards: run=mini, shard=(\d+)$", output, re.M)
    assert sorted(map(int, shards)) == list(range(40)), "each shard once"


def test_without_a_cluster_every_job_is_one(project):
    output = project.snakemake("-n", "--until", "nouns")
    assert submissions(output) == {"toy": 1, "ingest": 1, "categories": 1, "nouns": 40}


def test_a_job_that_is_tried_again_asks_for_more():
    resources, declared = Workflow(MINIATURE, order()).resources("segment"), stages()["segment"]
    assert [resources["mem_mb"](None, attempt) for attempt in (1, 2)] == [declared.mem_mb, 2 * declared.mem_mb]
    assert [resources["runtime"](None, attempt) for attempt in (1, 3)] == [declared.runtime, 3 * declared.runtime]
    assert resources["gpu"] == declared.gpu
