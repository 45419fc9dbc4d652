"""What besides code, parameters and inputs a stage's bytes depend on, and enters the memo's key: the versions of the
libraries that its code imports, and the device that its network runs on.

The number of threads and the processor's instruction set change the last digits of what networks compute, too; they enter no
key, for with them every other machine would do everything again.
"""

import os
from functools import cache
from importlib import metadata
from pathlib import Path

from pipeline import gpus
from pipeline.parameters import TELLS, code_modules, sections
from pipeline.stage import Stage
from store.fingerprint import imported_libraries

# {name in import statements: the distributions whose versions count}
DISTRIBUTIONS = {
    "PIL": ("pillow",),
    "cv2": ("opencv-contrib-python-headless",),
    "inflect": ("inflect",),
    "nltk": ("nltk",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "pyarrow": ("pyarrow",),
    "pycocotools": ("pycocotools",),
    "safetensors": ("safetensors",),
    "selectivesearch": ("selectivesearch", "scikit-image"),
    "yaml": ("PyYAML",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers", "tokenizers"),
}
_OF_EVERY_STAGE = {"PIL", "numpy", "pyarrow"}  # by which pipeline.job reads pictures and writes tables
_FETCHES = ("structures.addresses", "structures.remote")  # whose libraries bring bytes and make none
_PROCESSOR = Path("/proc/cpuinfo")


def environment(stage: Stage, config: dict) -> dict[str, str]:
    """{"environment.numpy": version, …, "environment.device": GPU or cpu} of what changes a stage's bytes. Loads none of
    the libraries."""
    without = (*TELLS, *_FETCHES)
    names = imported_libraries(*code_modules(stage, config), outside=("pipeline",), without=without) | _OF_EVERY_STAGE
    versions = {name: version for library in sorted(names) for name, version in _versions(library).items()}
    if stage.gpu:
        versions["device"] = device_name(config["device"])
        training = sections(stage, config).get("training", {})
        if versions["device"] == "cpu" and training.get("precision") == "auto":
            versions["precision"] = "bf16" if processor_has_bfloat16() else "fp32"
    return {f"environment.{name}": version for name, version in versions.items()}


class OtherDevice(Exception):
    """The key names a device, torch finds another: `kind`, "cpu" or "cuda"."""

    def __init__(self, kind: str):
        super().__init__(f"networks run on {kind}")
        self.kind = kind


def check_device(params: dict, device: str) -> None:
    """Raise OtherDevice where torch computes on another kind of device than an action's parameters name: a GPU without a
    driver that fits, a GPU that no nvidia-smi lists."""
    kind = device.split(":")[0]
    if params["environment.device"].split()[0] != kind:
        raise OtherDevice(kind)


@cache
def _versions(library: str) -> dict[str, str]:
    """{distribution: version} of a library. Raises KeyError for one that DISTRIBUTIONS does not know."""
    return {name: _version(name, library) for name in DISTRIBUTIONS[library]}


def _version(distribution: str, library: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # the same library by another name: opencv-python, say
        others = sorted(metadata.packages_distributions().get(library, ()))
        return " ".join(f"{name} {metadata.version(name)}" for name in others) or "absent"


def device_name(configured: str) -> str:
    """What networks run on where the configuration says auto, cpu or cuda, as far as can be told without torch: "cpu", or
    "cuda" and the name of the GPU (of all kinds that may be used, where there are several)."""
    if configured == "cpu":
        return "cpu"
    names = _visible_gpus(os.environ.get(gpus.VISIBLE))
    if configured == "auto" and not names:
        return "cpu"
    return " ".join(["cuda", *names])


@cache
def _visible_gpus(visible: str | None) -> list[str]:
    """Asked once for each value of CUDA_VISIBLE_DEVICES: nvidia-smi takes its time."""
    return gpus.visible_names()


@cache
def processor_has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself, as training.loop.autocast asks torch."""
    try:
        return "avx512_bf16" in _PROCESSOR.read_text().split()
    except OSError:
        return False
