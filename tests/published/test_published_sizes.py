"""Every training and every detector at the papers' sizes: 800 x 1333 pixels, each backbone, random weights, two steps; then
saved, loaded, used. Slow: `make test-published`."""

import copy

import numpy as np
import pandas as pd
import pytest

from pipeline.checkpoint import read_safetensors
from tests.conftest import MINIATURE, Project

pytestmark = pytest.mark.published
SIZE = {"min_size": 800, "max_size": 1333, "weights": "", "trainable_layers": 5}
SHORT = {"steps": 2, "batch": 1, "lr": 1e-5, "warmup": 0}
CASES = [
    ("resnet50_c4", "bf16", {"strategy": "robust"}, {}),
    ("resnet50_c4", "fp32", {"strategy": "soft_teacher"}, {"prior": True}),
    ("resnet50", "fp32", {"strategy": "robust"}, {"background": "rpn"}),
    ("resnet50", "bf16", {"strategy": "unbiased_teacher"}, {"prior": True}),
    ("small", "bf16", {"strategy": "dropout_entropy"}, {"prior": True}),
]


@pytest.mark.parametrize(
    "backbone, precision, student, teacher", CASES, ids=lambda case: case if isinstance(case, str) else "-".join(case)
)
def test_two_steps_of_every_training(tmp_path, backbone, precision, student, teacher):
    config = copy.deepcopy(MINIATURE) | {"toy": {"train": 4, "val": 1}, "training": {"precision": precision}}
    config["teacher_network"] |= {"backbone": backbone, **SIZE}
    config["train_detector"] |= {"backbone": backbone, **SIZE, **SHORT}
    for stage in ("finetune_detector", "train_teacher", "train_student"):
        config[stage] |= SHORT
    config["finetune_detector"] |= {"frozen": ["box_head", "mask_head"]}
    config["pretrain_captions"] |= SHORT | {"batch": 2}
    config["train_teacher"] |= teacher
    config["train_student"] |= student | {"robust": {"eta": 0.01}}
    config["student_labels"] = {"labels": "both"}
    config["evaluate_labels"] = {"scores": []}
    project = Project(tmp_path, config)
    stages = ["detect", "label_noise"] if student["strategy"] == "robust" else ["detect"]
    project.snakemake("--until", *stages)
    detectors = config["detectors"]
    assert {path.stem for path in (project.run / "detections").glob("*.parquet")} == set(detectors)
    for stage in [*detectors, "pretrain_captions"]:
        curve = pd.read_parquet(project.run / stage / "_curve")
        assert curve.step.max() == 2 and np.isfinite(curve.value).all()
        tensors, settings = read_safetensors(project.run / stage / "all.safetensors")
        assert settings["detector"]["backbone"] == backbone and settings["detector"]["min_size"] == 800
        assert all(value.isfinite().all() for value in tensors.values() if not value.isinf().all())
    detections = pd.read_parquet(project.run / "detections")
    assert np.isfinite(np.stack(detections.bbox)).all() and detections.score.between(0, 1).all()
