"""export_model: a trained detector leaves a run, and is used without the project."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file

from models.detector.mask_rcnn import load_detector
from pipeline.checkpoint import read_safetensors
from pipeline.config import checked
from pipeline.lineage import parents
from pipeline.workflow import Workflow
from structures.errors import UserError
from tests.conftest import MINIATURE, ROOT, Project, forked
from tests.exports.test_onnx import assert_same, found_by, session_of
from tests.pipeline.test_workflow import order

DETECTORS = MINIATURE["detectors"]


def asking(detector: str, **given) -> dict:
    return MINIATURE | {"export": {"onnx": detector}} | given


@pytest.fixture(scope="module")
def exported(miniature, tmp_path_factory):
    """A copy of the miniature, of which Snakemake was asked for a model."""
    folder = tmp_path_factory.mktemp("export") / "project"
    shutil.copytree(miniature.folder, folder, symlinks=True)
    project = Project(folder, MINIATURE)
    said = project.snakemake("--config", "export={onnx: finetune_detector}")
    assert "export_model" in said and "rule train_detector" not in said
    return project


def scenes(project, count: int = 2) -> list:
    return sorted((project.folder / "data" / "toy" / "val").glob("*.jpg"))[:count]


def as_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


def folder_of(project, detector: str):
    """What a run made of a detector, or a stage by hand makes."""
    if detector == "finetune_detector":
        return project.run / "export_model"
    project.stage("export_model", "--export.onnx", detector, "--into", detector)
    return project.run.parent / detector / "export_model"


@pytest.mark.parametrize("detector", DETECTORS)
def test_onnx_runtime_finds_what_torch_finds(exported, detector):
    folder = folder_of(exported, detector)
    model = load_detector(*read_safetensors(exported.run / detector / "all.safetensors"))
    session = session_of(folder / "model.onnx")
    properties = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert properties["detector"] == detector
    thresholds = {name: properties[name] for name in ("score_threshold", "nms_iou", "max_detections")}
    assert thresholds == {"score_threshold": 0.0, "nms_iou": 0.5, "max_detections": 5}
    vectors = load_file(folder / "vectors.safetensors")
    assert len(vectors) == 24
    for scene in scenes(exported):
        for picture in (Image.open(scene), Image.open(scene).resize((90, 230))):
            for names in (["umbrella"], list(vectors)):
                image, text = as_tensor(picture), torch.from_numpy(np.stack([vectors[name] for name in names]))
                expected = model.detect(image, {"all": text}, **thresholds)["all"]
                assert len(expected["scores"]) == 5
                assert_same(found_by(session, image, text), expected, most=5)


def test_the_card_says_what_it_is_and_its_example_runs(exported, tmp_path):
    folder = exported.run / "export_model"
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "image-segmentation"
    assert "(`finetune_detector`)" in text and "| training pictures | 10 |" in text and "| seed | 1 |" in text
    assert re.search(r"^\| generalized, novel \|( \d+\.\d \|){4}$", text, re.M)
    assert (
        "people corrected" not in text
        and "novel (pseudo-labels and captions alone taught these): airplane, bus" in text
    )
    [example] = re.findall(r"```python\n(.*?)```", text, re.S)
    for file in ("model.onnx", "vectors.safetensors"):
        shutil.copy(folder / file, tmp_path / file)
    Image.open(scenes(exported)[0]).save(tmp_path / "picture.jpg")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and re.match(r"[\w ]+ 0\.\d\d, \d+ pixels in \[", done.stdout)


def test_nothing_in_it_tells_where_it_was_made(exported):
    for file in (exported.run / "export_model").iterdir():
        content = file.read_bytes()
        assert not [place for place in (ROOT, exported.folder, sys.prefix) if str(place).encode() in content], file
    onnx.checker.check_model(onnx.load(exported.run / "export_model" / "model.onnx"))


def test_a_run_writes_a_model_where_it_is_asked_for_one_alone():
    def asked(config: dict) -> set[str]:
        goals = Workflow(config, order()).goals("report", scores="evaluate", exports="export", model="export_model")
        return {goal.split("/")[-2] for goal in goals}

    assert asked(asking("train_student")) == {"report", "evaluate", "export_model"}
    assert asked(asking("")) == {"report", "evaluate"}
    always = {"ingest", "embed_text", "evaluate"}
    assert set(parents("export_model", checked(asking("train_detector")))) == always | {
        "train_detector",
        "pseudo_labels",
    }
    xpm = checked(asking("train_student", student_labels={"labels": "xpm"}, detectors=["train_student"]))
    assert set(parents("export_model", xpm)) == always | {"train_student", "student_labels"}


def test_a_detector_that_the_run_does_not_train_is_refused():
    flow = Workflow(asking("train_student", detectors=["train_detector"]), order())
    with pytest.raises(UserError, match=r"export.onnx is train_student, .* name one of train_detector, or change"):
        flow.check_files(set())


def test_asked_for_by_hand_without_a_detector_or_as_labels_it_says_how(exported):
    assert "export_model: no detector is named: export.onnx is" in exported.stage("export_model", check=False)
    config = str(exported.folder / "config" / "config.yaml")
    code, said = forked(
        ["pipeline", "export", "--to", "onnx", "--configfile", config], exported.folder, Project._environment()
    )
    assert code != 0 and "python -m stages.export_model --export.onnx train_detector" in said
