"""Why Slurm ended a job, from the logs that it and Snakemake write."""

import pytest

from pipeline.slurm import ended_by_slurm


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("slurmstepd-n1: error: StepId=7.0 exceeded memory limit (43 > 10), being killed", "segment:mem_mb="),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks were killed", ":mem_mb="),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***", ":runtime="),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***", "it was cancelled"),
        ("segment: pictures: no memory limit", ""),
    ],
)
def test_a_job_that_slurm_ended_is_told_with_what_to_do(tmp_path, said, told):
    log = tmp_path / "slurm_logs" / "rule_segment" / "coco_3" / "7.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"Building DAG of jobs...\n{said}\n")
    done = tmp_path / "slurm_logs" / "rule_nouns" / "coco_3" / "8.log"  # removed by then
    submitted = "Job {} has been submitted with SLURM jobid {} (log: {}).\n"
    snakemake_log = tmp_path / "snakemake.log"
    snakemake_log.write_text(submitted.format(1, 8, done) + submitted.format(2, 7, log))
    lines = ended_by_slurm(snakemake_log)
    assert len(lines) == bool(told)
    assert all(
        line.startswith("segment: Slurm ended its job 7: ") and told in line and str(log) in line for line in lines
    )


def test_a_run_without_slurm_has_nothing_to_tell(tmp_path):
    (tmp_path / "snakemake.log").write_text("Error in rule segment:\n")
    assert ended_by_slurm(tmp_path / "snakemake.log") == []
