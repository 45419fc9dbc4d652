"""When the last of some jobs ends."""

import pytest

from pipeline.estimate.schedule import Task, makespan


def test_jobs_run_beside_each_other_as_far_as_there_are_cores():
    tasks = [Task(3.0), Task(3.0), Task(3.0)]
    assert [makespan(tasks, cores=cores, gpus=0) for cores in (1, 2, 3, 8)] == [9, 6, 3, 3]


def test_a_job_waits_for_what_it_reads():
    chain = [Task(1.0), Task(2.0, waits_for={0}), Task(4.0, waits_for={1}), Task(5.0)]
    assert makespan(chain, cores=8, gpus=0) == 7


def test_a_job_of_more_threads_than_cores_takes_all_of_them():
    assert makespan([Task(2.0, threads=16), Task(2.0, threads=1)], cores=2, gpus=0) == 4


def test_gpus_bound_jobs_whatever_cores_are_free():
    tasks = [Task(2.0, gpus=1) for _ in range(4)]
    assert [makespan(tasks, cores=16, gpus=gpus) for gpus in (1, 2, 4)] == [8, 4, 2]


def test_a_job_that_fits_goes_before_a_large_one_that_does_not():
    tasks = [Task(4.0, threads=1), Task(4.0, threads=2), Task(4.0, threads=1)]
    assert makespan(tasks, cores=2, gpus=0) == 8


def test_jobs_that_wait_for_each_other_are_told():
    with pytest.raises(ValueError, match="2 tasks wait for each other"):
        makespan([Task(1.0, waits_for={1}), Task(1.0, waits_for={0})], cores=1, gpus=0)
