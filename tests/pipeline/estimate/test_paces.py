"""Which rate is taken: measured here, or shipped, or that of another stage."""

import math

import pytest

from pipeline.config import load
from pipeline.estimate.measured import Job
from pipeline.estimate.pace import MEASURED, OF_EMBEDDED_RUN, PUBLISHED, pooled
from pipeline.estimate.paces import Paces
from pipeline.estimate.work import WORK, Sizes, depends, flat
from pipeline.registry import stages
from store.fingerprint import ROOT

TOY, COCO = (flat(load(ROOT / "config" / name)) for name in ("config.yaml", "coco.yaml"))
SCENES, PHOTOGRAPHS = Sizes(pixels=192 * 144), Sizes(pixels=640 * 480)


def measured(stage="gradcam", seconds=34.0, units=300.0, settings=TOY, sizes=SCENES, device="cpu", **own) -> Job:
    of = depends(stage, settings, "all", sizes) | own
    return Job("own", stage, device, of, seconds, units, rows=100.0, size=5000.0, memory=500.0)


def nearest(jobs, stage, settings=TOY, sizes=SCENES, units=300.0, device="cpu", cores=2, part="all"):
    wanted = depends(stage, settings, part, sizes)
    return Paces(jobs, 2).nearest(stage, wanted, units, device, cores)


def test_every_stage_says_what_its_time_grows_with():
    assert stages().keys() <= WORK.keys()
    sizes = Sizes(train=100, val=50, captions=200, pairs=120, labels=110, pixels=300)
    for config in (TOY, COCO):
        for name in stages():
            assert WORK[name].units(sizes, config) >= 0
            assert None not in depends(name, config, "train_detector", sizes).values(), name


@pytest.mark.parametrize(
    ("stage", "units"),
    [
        ("gradcam", 120 * 3 * 2),  # mirrored
        ("train_detector", 540 * 8),
        ("train_student", (150 + 0) * 8),  # eta is given, and not looked for
        ("selective_search", 100),
        ("detect", 50),
        ("ingest", 150),
    ],
)
def test_units_follow_from_sizes_and_parameters(stage, units):
    assert WORK[stage].units(Sizes(train=100, val=50, captions=200, pairs=120, labels=110), TOY) == units


def test_a_rate_is_the_work_of_all_jobs_alike_without_their_start_up():
    jobs = [measured(seconds=24, units=200), measured(seconds=14, units=100), measured("ingest", seconds=0.5, units=9)]
    [pace] = [pace for pace in pooled(jobs, 2, {True: 4.0, False: 0.5}) if pace.stage == "gradcam"]
    assert pace.seconds == pytest.approx((20 + 10) / 300)
    assert pace.size == pytest.approx(10_000 / 200) and pace.memory == 500 and pace.of == "own"


def test_what_was_measured_here_goes_before_what_is_shipped():
    assert nearest([], "gradcam")[0].origin == OF_EMBEDDED_RUN
    pace, differing = nearest([measured(), measured("embed_text", 1.0, 1)], "gradcam")
    assert (pace.origin, pace.of, differing) == (MEASURED, "own", [])


def test_a_run_with_another_network_is_no_measure():
    pace, differing = nearest([measured("train_detector", 500.0, 4000.0)], "train_detector", COCO, PHOTOGRAPHS, 1e6)
    assert pace.origin == PUBLISHED and pace.of == "2 cores of x86_64" and not differing


def test_jobs_that_were_start_up_mostly_say_little_about_many_times_their_units():
    short = [measured("nouns", 1.2, 1280.0), measured("ingest", 1.0, 640.0)]
    assert nearest(short, "nouns", units=5000.0)[0].origin == MEASURED
    assert nearest(short, "nouns", units=600_000.0)[0].origin == OF_EMBEDDED_RUN
    assert pooled(short, 2, {True: 4.0, False: 1.0})[0].reach < math.inf


def test_a_stage_without_a_rate_of_its_own_is_as_another_and_says_so():
    pace, _ = nearest([], "finetune_detector", COCO, PHOTOGRAPHS, 1e5, "cuda NVIDIA H200", 16)
    alike, _ = nearest([], "train_detector", COCO, PHOTOGRAPHS, 1e5, "cuda NVIDIA H200", 16)
    assert (pace.as_stage, pace.seconds) == ("train_detector", alike.seconds)


def test_another_gpu_than_the_measured_one_is_told():
    pace, differing = nearest([], "gradcam", COCO, PHOTOGRAPHS, 1e5, "cuda NVIDIA A100", 16)
    assert pace.of == "NVIDIA H200" and differing == ["NVIDIA H200 for NVIDIA A100"]
    assert nearest([], "gradcam", COCO, PHOTOGRAPHS, 1e5, "cuda", 16)[1] == [], "of a kind that nobody knows"


def test_what_runs_on_processors_takes_as_many_as_its_stage_has_threads():
    seconds = {
        cores: nearest([], "selective_search", COCO, PHOTOGRAPHS, 1e5, cores=cores)[0].seconds for cores in (1, 2, 64)
    }
    assert seconds[1] == pytest.approx(2 * seconds[2])
    assert seconds[1] == pytest.approx(stages()["selective_search"].threads * seconds[64])


def test_time_grows_with_the_pixels_of_what_a_network_sees():
    wide = COCO | {"train_detector.min_size": 1600}
    at_800, at_1600 = (nearest([], "detect", of, PHOTOGRAPHS, 1e5, "cuda NVIDIA H200", 16) for of in (COCO, wide))
    assert at_1600[0].seconds == pytest.approx(4 * at_800[0].seconds) and at_1600[1] == ["800 for 1600"]
