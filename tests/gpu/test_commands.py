"""What is no stage, on a pretended GPU: the refusals of the GPU itself, predict, the benchmarks' rows for a GPU."""

import json

import numpy as np
import pytest

from tests.conftest import ROOT, Project
from tests.gpu.pretended import on_gpu

XPM_TRAININGS = ("pretrain_captions", "train_teacher", "train_student")
REFUSALS = """
import copy, numpy, pytest, torch
from torch import nn

gpu, cpu = torch.ones(2, device="cuda"), torch.ones(2)
assert gpu.device.type == "cuda" and torch.cuda.is_available()
assert (gpu + 1).device.type == (gpu + torch.tensor(1.0)).device.type == "cuda"
assert cpu.to(gpu).is_cuda and gpu.to(cpu).device.type == "cpu" and cpu.double().to(gpu).dtype == gpu.dtype
assert (gpu + gpu).cpu().numpy().tolist() == [2, 2] and gpu[torch.tensor([1])].is_cuda
for refused in (
    lambda: gpu + cpu,
    lambda: torch.cat([gpu, cpu]),
    lambda: torch.stack([gpu[0], cpu[0]]),
    lambda: nn.Linear(2, 2)(gpu),
    lambda: cpu[gpu.long()],
):
    with pytest.raises(RuntimeError, match="tensors of both devices"):
        refused()
for refused in (gpu.numpy, lambda: numpy.asarray(gpu)):
    with pytest.raises(TypeError, match="can't convert cuda"):
        refused()
def put_back():
    levels = torch.zeros(3, 2, device="cuda")
    levels[torch.tensor([0, 2])] = nn.Linear(2, 2).to("cuda")(gpu)
    return levels
put_back().sum().backward()
nn.Linear(2, 2).to("cuda")(gpu).unbind()[0].backward()
with pytest.raises(RuntimeError, match="tensors of both devices"):
    put_back()[torch.tensor([1])] = cpu
layer = nn.Linear(2, 1).to("cuda")
layer(gpu).sum().backward()
assert layer.weight.grad.is_cuda and copy.deepcopy(layer).weight.is_cuda
"""


def test_the_pretended_gpu_refuses_what_a_gpu_refuses(project):
    script = project.folder / "refusals.py"
    script.write_text(REFUSALS)
    _, operations = on_gpu(project, script)
    assert operations > 5


@pytest.mark.gpu
@pytest.mark.parametrize("detector", ["train_detector", "train_student"])
def test_predict_finds_on_a_gpu_what_it_finds_on_a_processor(miniature, tmp_path, detector):
    arguments = ["--weights", miniature.run / detector / "all.safetensors", "--classes", "umbrella, dragon fruit"]
    arguments += ["--images", miniature.folder / "data" / "toy" / "val", "--score", "0", "--max-detections", "5"]
    arguments = [*map(str, arguments), "--threads", "1"]
    miniature.stage("predict", *arguments[:-2], "--device", "cpu", "--out", str(tmp_path / "cpu"), configfile=False)
    _, operations = on_gpu(miniature, "-m", "stages.predict", *arguments, "--out", tmp_path / "gpu")  # auto: the GPU
    assert operations > 100
    found, again = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("cpu", "gpu"))
    assert len(again["annotations"]) == len(found["annotations"]) > 0
    for key in ("image_id", "category_id", "segmentation"):
        assert [row[key] for row in again["annotations"]] == [row[key] for row in found["annotations"]]
    for key in ("bbox", "score"):
        np.testing.assert_allclose(*([row[key] for row in part["annotations"]] for part in (again, found)), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "function, rows",
    [
        ("gradcam", {"gradcam", "gradcam_pairs"}),
        ("segment", {"segment", "segment_gpu"}),
        ("segment_batched", {"segment_batched"}),
        ("train_detector", {"train_detector", "train_detector_autocast", "train_detector_wait"}),
        *(
            (f"rates.{stage}", {f"rates.{stage}"})
            for stage in ("train_wspn", "propose", "segment", "train_detector", "detect", *XPM_TRAININGS)
        ),
    ],
)
def test_the_benchmarks_rows_for_a_gpu_can_be_measured(tmp_path, function, rows):
    project = Project(tmp_path, {})
    output, operations = on_gpu(project, ROOT / "tests" / "gpu" / "small_benchmarks.py", function)
    measured = {row["name"]: row for row in json.loads(output.split("rows: ")[1].splitlines()[0])}
    assert measured.keys() == rows and operations > 100
    assert all(np.isfinite(row["ours"]) and row["ours"] > 0 for row in measured.values())
    assert {row["device"] for row in measured.values()} == {"a pretended GPU"}
