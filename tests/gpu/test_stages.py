"""Every stage with a network, in every variant, on a pretended GPU (pretend_gpu.py refuses what a GPU refuses and computes
on the processor): what comes out is the processor's. Two cases run with all tests, `make test-gpu` runs all.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.checkpoint import read_safetensors
from pipeline.config import section_schema
from pipeline.registry import stages
from tests.conftest import MINIATURE, Project
from tests.gpu.pretended import on_gpu
from tests.gpu.transformers_models import save_bert, save_blip, save_clip


def choices(section: str, key: str) -> list[str]:
    return section_schema(section)["properties"][key]["enum"]


BLIP = ("--vision-language.model", "blip", "--vision-language.image-size", "48", "--vision-language.layers", "[1]")
BLIP += ("--vision-language.weights", "{blip}")
KEPT = ("--training.save-every", "1")  # a checkpoint after each step: nothing of a GPU can be in it
ONE = ("--batch", "1", "--steps", "1")
C4 = ("--backbone", "resnet50_c4", "--weights", "", "--trainable-layers", "5", *ONE)
SURE = {
    name: (f"--{name.replace('_', '-')}.confidence-threshold", "0.02") for name in ("soft_teacher", "unbiased_teacher")
}
SECOND_ROUND = {
    "rounds": 2,
    "producing_runs": {"round_before.train_detector": "mini", "relabel": "relabel"},
    "relabel": {"own_regions": True},
}
TWO_ROUNDS = ("--configfile", "config/config.yaml", "config/rounds.yaml")
BEFORE = {"label_quality": "relabel"}  # a case whose result another reads
QUICK = {"gradcam", "train_student robust"}  # run with all tests
# what changes no result, or on a pretended GPU, which does not imitate autocast, none
MORE_ON_GPU = {
    "train_detector workers accumulate": ("--training.workers", "1"),
    "train_detector bf16": ("--training.precision", "auto"),
}
# {name of a case: stage and its flags}; {clip}, {bert}, {blip}: folders of such models
CASES: dict[str, tuple[str, ...]] = {
    "gradcam": ("gradcam",),
    "gradcam itm image": ("gradcam", "--score", "itm", "--masking", "image"),
    "gradcam bf16": ("gradcam", "--vision-language.precision", "bf16"),
    "gradcam blip": ("gradcam", "--score", "itm", *BLIP),
    "gradcam blip bf16": ("gradcam", "--score", "itm", *BLIP, "--vision-language.precision", "bf16"),
    "train_wspn": ("train_wspn", *KEPT),
    "train_wspn resnet50": ("train_wspn", "--backbone", "resnet50", "--weights", "", *ONE),
    "propose": ("propose",),
    "train_detector workers accumulate": ("train_detector", "--accumulate", "2", *KEPT),
    "train_detector deterministic": ("train_detector", "--training.deterministic", "true"),
    "train_detector bf16": ("train_detector",),
    "train_detector c4": ("train_detector", *C4),
    "train_detector fpn": ("train_detector", "--backbone", "resnet50", *C4[2:]),
    "train_detector dot": ("train_detector", "--similarity", "dot", "--temperature", "1"),
    "finetune_detector": ("finetune_detector",),
    "finetune_detector novel": ("finetune_detector", "--keep-novel", "true", "--frozen", "[backbone, rpn]"),
    "pretrain_captions": ("pretrain_captions",),
    "pretrain_captions vocabulary": ("pretrain_captions", "--words", "vocabulary", "--align", "[words]"),
    "train_teacher boxes": ("train_teacher", "--supervision", "boxes"),
    "teacher_labels": ("teacher_labels",),
    "train_student balanced": ("train_student", "--balanced", "true", "--robust.noise-input", "region_and_mask"),
    "label_noise": ("label_noise",),
    "relabel": ("relabel", *TWO_ROUNDS),
    "label_quality": ("label_quality", *TWO_ROUNDS, "--score-threshold", "0"),
    "evaluate_labels": ("evaluate_labels", "--scores", "[itm, mlm]"),
    "evaluate_proposals": ("evaluate_proposals",),
    "pretrain_backbone": ("pretrain_backbone", "--objects", "48", "--batch", "8", "--steps", "2"),
    "pretrain_vlm": ("pretrain_vlm", "--scenes", "12", "--batch", "4", "--steps", "2", "--hard-after", "0"),
}
CASES |= {f"segment {name}": ("segment", "--method", name) for name in choices("segment", "method")}
CASES |= {
    f"train_detector {name}": ("train_detector", "--background", name)
    for name in choices("train_detector", "background")
}
CASES |= {
    f"train_teacher {name}": ("train_teacher", "--background", name, "--prior", "true")
    for name in choices("train_teacher", "background")
}
CASES |= {
    f"train_student {name}": ("train_student", "--strategy", name, *SURE.get(name, ()), *KEPT)
    for name in choices("train_student", "strategy")
}
CASES |= {f"detect {name}": ("detect", "--detector", name) for name in MINIATURE["detectors"]}
for name in choices("text_embedder", "model"):
    weights = () if name == "albef" else ("--text-embedder.weights", f"{{{name}}}")
    CASES[f"embed_text {name}"] = ("embed_text", "--text-embedder.model", name, *weights)


@pytest.fixture(scope="module")
def projects(miniature, tmp_path_factory) -> tuple[Project, Project]:
    """Two copies of the miniature, for the processor and for the GPU: neither remembers what the other computed."""
    copies = []
    for name in ("processor", "gpu"):
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(miniature.folder, folder, symlinks=True, dirs_exist_ok=True)
        (folder / "config" / "rounds.yaml").write_text(yaml.safe_dump(SECOND_ROUND))
        copies.append(Project(folder, miniature.config))
    return tuple(copies)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Small random models in folders as transformers saves them."""
    root = tmp_path_factory.mktemp("models")
    save = {"clip": save_clip, "bert": save_bert, "blip": save_blip}
    for name, into in save.items():
        into(root / name)
    return {name: root / name for name in save}


def test_every_stage_with_a_network_is_among_the_cases():
    assert {name for name, stage in stages().items() if stage.gpu} <= {stage for stage, *_ in CASES.values()}
    assert CASES.keys() >= QUICK


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.gpu, id=case) for case in CASES]
)
def test_a_stage_gives_on_a_gpu_what_it_gives_on_a_processor(projects, folders, case):
    processor, gpu = projects
    stage, *flags = (flag.format(**folders) if flag in {"{clip}", "{bert}", "{blip}"} else flag for flag in CASES[case])
    for project in projects if case in BEFORE else ():
        project.stage(*CASES[BEFORE[case]], "--into", BEFORE[case], "--device", "cpu")
    arguments = [*flags, "--into", case.replace(" ", "-")]
    processor.stage(stage, *arguments, "--device", "cpu")
    config = gpu.folder / "config" / "config.yaml"
    common = ("--configfile", config, "--threads", "1", "--device", "cuda", "--recompute")
    _, operations = on_gpu(gpu, "-m", f"stages.{stage}", *common, *arguments, *MORE_ON_GPU.get(case, ()))
    if stage == "embed_text" or case == "segment threshold":  # names are few, a threshold is no network
        assert operations == 0
    else:
        assert operations > 100
    shard = flags[1] if stage == "detect" else "0" if stages()[stage].per == "shard" else "all"
    runs = [project.run.parent / case.replace(" ", "-") for project in projects]
    assert_alike(*runs, stage, shard, tolerance=0.02 if "bf16" in case else 1e-4)


def assert_alike(run: Path, other: Path, stage: str, shard: str, tolerance: float) -> None:
    """What a stage made in two runs are the same files, of the same rows or tensors, numbers within a tolerance."""
    manifests = [json.loads((folder / "manifests" / stage / f"{shard}.json").read_text()) for folder in (run, other)]
    outputs, others = ({output["path"] for output in manifest["outputs"]} for manifest in manifests)
    assert outputs == others and outputs
    for path in sorted(outputs):
        if path.endswith(".parquet"):
            table, again = (pd.read_parquet(folder / path) for folder in (run, other))
            assert list(table.columns) == list(again.columns) and len(table) == len(again) > 0, path
            for column in table:
                assert column_alike(table[column], again[column], tolerance), f"{path}: {column}"
        else:
            (tensors, settings), (tensors_again, settings_again) = (read_safetensors(at / path) for at in (run, other))
            assert settings == settings_again and tensors.keys() == tensors_again.keys() and tensors
            for name, value in tensors.items():
                torch.testing.assert_close(tensors_again[name], value, rtol=10 * tolerance, atol=tolerance)


def column_alike(values: pd.Series, others: pd.Series, tolerance: float) -> bool:
    """Whether two columns hold the same, numbers and lists of numbers within a tolerance."""
    if isinstance(values.iloc[0], np.ndarray):
        if [len(value) for value in values] != [len(value) for value in others]:
            return False
        values, others = (
            pd.Series(np.concatenate([np.stack(row) for row in rows if len(row)]).ravel()) for rows in (values, others)
        )
    if values.dtype.kind == "f":
        return np.allclose(values.astype(float), others.astype(float), rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(values.iloc[0], dict):  # masks
        values, others = ([(*mask["size"], mask["counts"]) for mask in masks] for masks in (values, others))
        return values == others
    return values.tolist() == others.tolist()
