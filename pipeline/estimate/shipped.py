"""Paces that come with the project: of networks of the published sizes, on two cores and on a GPU (benchmarks/rates.json), and of
the embedded run on two cores (benchmarks/run_rates.json)."""

import json

from pipeline.estimate.pace import PUBLISHED, Pace
from pipeline.estimate.work import WORK
from pipeline.registry import stages
from store.fingerprint import ROOT

_FOLDER = ROOT / "benchmarks"
_ONE_PROCESS = (
    "ingest",
    "nouns",
    "selective_search",
    "select_boxes",
)  # of benchmarks.rates: on one core of the machine

# What benchmarks.rates measures: networks of these sizes, pictures of 640 x 480.
_PUBLISHED = {
    "backbone": {
        "train_wspn": "resnet50",
        "propose": "resnet50",
        "train_detector": "resnet50",
        "detect": "resnet50",
        "relabel": "resnet50",
    },
    "min_size": {"train_wspn": 480, "propose": 480},
    "training.precision": {"train_detector": "bf16"},
}
_PUBLISHED_ALWAYS = {
    "backbone": "resnet50_c4",
    "min_size": 800,
    "boxes": 500,
    "hidden": 1024,
    "training.precision": "fp32",
    "vision_language.model": "albef",
    "vision_language.image_size": 256,
    "vision_language.precision": "bf16",
    "gradcam.score": "itm",
    "selective_search.mode": "quick",
    "propose.by": "wspn",
    "propose.top_k": 50,
    "segment.method": "grabcut",
    "segment.side": 64,
    "pictures": "photographs",
}
_AT_ONCE = {
    "train_wspn": 2,
    "pretrain_captions": 32,
    **dict.fromkeys(("train_detector", "train_teacher", "train_student"), 8),
}
_UNITS_OF_A_RATE = {"gradcam": 3.0}  # a pair is three maps there
# Bytes a row on photographs of 640 x 480, or of the whole file of a training (docs/scale.md).
BYTES = {
    "ingest": 1700,
    "nouns": 45,
    "gradcam": 1500,
    "selective_search": 20_000,
    "propose": 1250,
    "select_boxes": 75,
    "segment": 2400,
    "relabel": 7000,
    "label_quality": 90,
    "pseudo_labels": 5500,
    "teacher_labels": 7000,
    "student_labels": 2400,
    "detect": 20_000,
    "gallery": 33_000,
    **dict.fromkeys(("train_wspn", "train_detector", "finetune_detector"), 200e6),
    **dict.fromkeys(("pretrain_captions", "train_teacher", "train_student"), 230e6),
}


def of_embedded_run() -> list[Pace]:
    rows = json.loads((_FOLDER / "run_rates.json").read_text(encoding="utf-8"))
    return [Pace(**row) for row in rows]


def published() -> list[Pace]:
    """The rates of networks of the published sizes."""
    paces = []
    for row in json.loads((_FOLDER / "rates.json").read_text(encoding="utf-8")):
        stage, machine = row["stage"], row["device"]
        if stage not in WORK or not row["rate"]:
            continue
        on_processors = machine.endswith("x86_64")
        network = {key: _PUBLISHED.get(key, {}).get(stage, usual) for key, usual in _PUBLISHED_ALWAYS.items()}
        paces.append(
            Pace(
                stage=stage,
                seconds=1 / row["rate"] / _UNITS_OF_A_RATE.get(stage, 1.0),
                device="cpu" if on_processors or not stages()[stage].gpu else f"cuda {machine}",
                cores=1 if stage in _ONE_PROCESS else 2 if on_processors else 16,
                depends=network,
                origin=PUBLISHED,
                of=machine,
                size=BYTES.get(stage),
                gpu_memory=(row.get("gpu_gib") or 0) / _AT_ONCE.get(stage, 1) or None,
            )
        )
    return paces
