"""An estimate against the run itself, at four times the scenes: minutes; make test-estimate."""

import pytest
import yaml

from benchmarks.runs import FEW_STEPS
from pipeline.estimate.measured import measured_jobs
from tests.conftest import as_in_a_clone
from tests.pipeline.estimate.test_command import estimate

_GOALS = ["evaluate_labels", "segment"]
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@pytest.mark.estimate
def test_a_run_of_four_times_the_scenes_takes_what_was_estimated_within_a_factor_of_two(tmp_path):
    project = as_in_a_clone(tmp_path)
    config = yaml.safe_load((tmp_path / "config" / "config.yaml").read_text())
    config |= {"tables": {}, "rounds": 1, "toy": {"train": 100, "val": 60}} | {
        stage: config[stage] | few for stage, few in FEW_STEPS.items()
    }
    config["pseudo_labels"] = {"measures": ["score"]}
    project.config = config
    project.write_config()
    project.snakemake_of_its_own("--until", *_GOALS)
    four = ["--config", "toy={train: 400, val: 240}", "run=four", "root=data/four"]
    text = estimate(project, "--until", *_GOALS, *four, "--cores", "2")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    estimated = {row[0]: _seconds(row[3]) for row in cells[2:]}
    assert all("measured (toy)" in row[-1] for row in cells[2:] if row[0] in ("gradcam", "segment", "selective_search"))
    project.snakemake_of_its_own("--until", *_GOALS, *four)
    took = {job.stage: job.seconds for job in measured_jobs(tmp_path / "data") if job.run == "four"}
    assert len(took) > 7
    total = sum(estimated[stage] for stage in took)
    assert sum(took.values()) / 2 < total < sum(took.values()) * 2, (estimated, took)
    wrong = {stage: (estimated[stage], seconds) for stage, seconds in took.items() if seconds > 30}
    assert all(seconds / 2 < said < seconds * 2 for said, seconds in wrong.values()), wrong


def _seconds(text: str) -> float:
    number, unit = text.split()
    return float(number.replace(",", "")) * _SECONDS[unit]
