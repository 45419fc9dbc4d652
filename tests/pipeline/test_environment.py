"""Library versions and the device in the memo's key: of whose bytes they change, of nobody else, and without loading them."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
import torch

from pipeline import environment as module
from pipeline.config import checked
from pipeline.environment import _FETCHES, DISTRIBUTIONS, environment, processor_has_bfloat16
from pipeline.registry import stages
from pipeline.variants import overlaid
from store.fingerprint import ROOMS, ROOT, imported_libraries
from store.manifest import Run
from tests.conftest import MINIATURE


def of(name: str, **changes) -> dict[str, str]:
    found = environment(stages()[name], checked(overlaid(MINIATURE, changes)))
    return {key.removeprefix("environment."): value for key, value in found.items()}


@pytest.mark.parametrize(
    ("stage", "counts", "does_not"),
    [
        ("gradcam", {"torch", "transformers", "tokenizers", "pillow", "numpy"}, {"opencv-contrib-python-headless"}),
        ("train_wspn", {"torch", "torchvision", "pillow"}, {"transformers", "inflect"}),
        ("embed_text", {"torch", "transformers"}, {"inflect"}),
        ("selective_search", {"opencv-contrib-python-headless", "pillow", "selectivesearch"}, {"torch"}),
        ("nouns", {"inflect", "pyarrow"}, {"torch", "transformers", "device"}),
        ("select_boxes", {"numpy"}, {"torch", "device"}),
    ],
)
def test_a_stage_depends_on_the_versions_of_what_its_code_imports(stage, counts, does_not):
    found = of(stage)
    assert counts <= found.keys() and not does_not & found.keys()
    assert all(found[name] == metadata.version(name) for name in found.keys() - {"device", "precision"})


def test_a_method_chosen_by_name_brings_its_own_libraries():
    assert "opencv-contrib-python-headless" not in of("embed_text", text_embedder={"model": "clip"})
    assert "torch" not in of("segment", segment={"method": "threshold"}).keys() - of("segment").keys()


def test_every_library_of_a_stage_or_a_model_has_a_distribution_that_is_installed():
    names = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts) for room in ROOMS for file in (ROOT / room).rglob("*.py")
    }
    names = {
        name
        for name in names
        if name.split(".")[0] in ("stages", "models", "sources", "training", "evaluation", "exports")
    }
    libraries = imported_libraries(*names, outside=("pipeline",), without=("structures.progress", *_FETCHES))
    assert libraries | {"pyarrow"} == DISTRIBUTIONS.keys()
    assert all(metadata.version(name) for names in DISTRIBUTIONS.values() for name in names)


def test_nothing_slow_is_loaded_to_tell_the_versions():
    code = f"""
import sys
from pipeline.config import checked
from pipeline.environment import environment
from pipeline.registry import stages
environment(stages()["gradcam"], checked({MINIATURE!r}))
print([name for name in ("torch", "torchvision", "transformers", "cv2", "PIL", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_library_of_another_distribution_is_named(monkeypatch):
    module._versions.cache_clear()
    monkeypatch.setitem(DISTRIBUTIONS, "cv2", ("opencv-no-such-thing",))
    found = of("selective_search")
    module._versions.cache_clear()
    version = metadata.version("opencv-contrib-python-headless")
    assert found["opencv-no-such-thing"] == f"opencv-contrib-python-headless {version}"


@pytest.fixture()
def gpus(tmp_path, monkeypatch):
    """A function that makes nvidia-smi list these kinds of GPU."""

    def gpus(*kinds: str) -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        command = tmp_path / "bin" / "nvidia-smi"
        lines = [f"GPU {i}: {kind} (UUID: GPU-{i})" for i, kind in enumerate(kinds)]
        command.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines))
        command.chmod(0o755)
        module._visible_gpus.cache_clear()

    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield gpus
    module._visible_gpus.cache_clear()


def test_networks_depend_on_the_kind_of_gpu(gpus, monkeypatch):
    gpus("NVIDIA H200", "NVIDIA H200")
    assert of("gradcam")["device"] == of("gradcam", device="cuda")["device"] == "cuda NVIDIA H200"
    assert of("gradcam", device="cpu")["device"] == "cpu" and "device" not in of("nouns")
    gpus("NVIDIA H200", "NVIDIA A100")
    assert of("gradcam")["device"] == "cuda NVIDIA A100 NVIDIA H200"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert of("gradcam")["device"] == "cuda NVIDIA A100"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-77")
    assert of("gradcam")["device"] == "cuda GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert of("gradcam")["device"] == "cpu"


def test_automatic_precision_counts_by_what_it_comes_to(gpus, monkeypatch):
    gpus()
    assert processor_has_bfloat16() == torch.cpu.get_capabilities().get("avx512_bf16", False)
    auto = {"training": {"precision": "auto"}}
    outcomes = []
    for has in (True, False):
        monkeypatch.setattr(module, "processor_has_bfloat16", lambda has=has: has)
        outcomes.append(of("train_detector", device="cpu", **auto)["precision"])
    assert outcomes == ["bf16", "fp32"]
    assert "precision" not in of("train_detector", device="cpu", training={"precision": "fp32"})
    assert "precision" not in of("train_wspn", device="cpu", **auto), "it has no such parameter"


def dry_run(project, stage: str) -> str:
    return project.snakemake("-n", "--until", stage)


def test_another_version_of_a_library_reruns_what_it_changes_and_nothing_else(project):
    project.config |= {"toy": {"train": 4, "val": 2}}
    project.write_config()
    project.snakemake("--until", "nouns")
    assert "\nrule " not in dry_run(project, "nouns")
    key = json.loads((project.run / "manifests/nouns/0.json").read_text())["key"]
    other = project.folder / "inflect-99.0.dist-info"  # found before the installed one: in the folder of the run
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: inflect\nVersion: 99.0\n")
    told = dry_run(project, "nouns")
    assert "Params have changed" in told
    assert "rule nouns" in told and "rule categories" in told and "rule ingest" not in told
    project.snakemake("--until", "nouns")
    [manifest] = [m for m in Run(project.folder / "data", "mini").manifests() if m.stage == "nouns"]
    assert manifest.params["environment.inflect"] == "99.0" and manifest.key != key
    (other / "METADATA").unlink()
    other.rmdir()
    project.snakemake("--until", "nouns")
    assert "nothing new, linked what is known" in (project.folder / "logs/mini/nouns/0.log").read_text()


def test_a_gpu_that_torch_can_not_use_is_not_in_the_key(project, gpus):
    """nvidia-smi lists it, this torch has no driver for it."""
    gpus("NVIDIA H200")
    options = ("--objects", "4", "--size", "16", "--steps", "2", "--batch", "2", "--into", "mini")
    project.stage("pretrain_backbone", *options)
    [manifest] = Run(project.folder / "data", "mini").manifests()
    assert manifest.params["environment.device"] == "cpu"
    assert "nothing new" in project.stage("pretrain_backbone", *options)
    assert [file.stem for file in (project.folder / "data" / "actions").iterdir()] == [manifest.key]
