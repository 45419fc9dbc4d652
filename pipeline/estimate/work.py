"""What the time and the disk of each stage grow with, and the parameters that its speed depends on.

A stage's seconds are its jobs' start-ups and units x seconds a unit, where the units follow from the sizes of the data set and
the parameters: of gradcam pairs x iterations, of a training steps x batch. Seconds a unit of another run hold where what is
named in `depends` is alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

Settings = dict[str, object]  # {dotted key of the configuration: value}


@dataclass(frozen=True)
class Sizes:
    """How many of each a data set, or a part of it that one job reads, has: pictures for training and validation, captions
    (or, where labels stand for them, labels), pairs of a training picture and a noun, pseudo-labels; detectors that are scored;
    pixels of a picture, on average."""

    train: float = 0
    val: float = 0
    captions: float = 0
    pairs: float = 0
    labels: float = 0
    detectors: float = 1
    pixels: float = 0


def flat(config: dict, prefix: str = "") -> Settings:
    """A configuration, or a part of it, by dotted keys."""
    settings = {}
    for key, value in config.items():
        settings |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return settings


@dataclass(frozen=True)
class Work:
    """unit: what is counted, in words; units: how many, of the sizes and the settings; depends: dotted keys that the time of
    a unit depends on; rows: what the stage's files grow with, the units where it is not given, nothing for `fixed` ones, as
    checkpoints; as_stage: a stage whose measured rate serves where there is none, and how many of its units one is."""

    unit: str
    units: Callable[[Sizes, Settings], float]
    depends: tuple[str, ...] = ()
    rows: Callable[[Sizes], float] | None = None
    fixed: bool = False
    as_stage: str = ""
    units_of_it: float = 1.0


def _steps(stage: str) -> Callable[[Sizes, Settings], float]:
    return lambda sizes, settings: settings[f"{stage}.steps"] * settings[f"{stage}.batch"]


def _student_steps(sizes: Sizes, settings: Settings) -> float:
    search = settings["train_student.strategy"] == "robust" and not settings.get("train_student.robust.eta")
    steps = settings["train_student.steps"] + (settings["train_student.robust.eta_steps"] if search else 0)
    return steps * settings["train_student.batch"]


def _maps(sizes: Sizes, settings: Settings) -> float:
    return sizes.pairs * settings["gradcam.iterations"] * (2 if settings["gradcam.mirrored"] else 1)


def _measured_pairs(sizes: Sizes, settings: Settings) -> float:
    images = settings["evaluate_labels.images"]
    return sizes.pairs * (min(1.0, images / sizes.train) if images and sizes.train else 1.0)


def _searched(sizes: Sizes, settings: Settings) -> float:
    return sizes.val * len(settings["evaluate_proposals.generators"])


def _images(sizes: Sizes, settings: Settings = {}) -> float:  # noqa: B006 (it is only read)
    return sizes.train + sizes.val


def _train(sizes: Sizes, settings: Settings) -> float:
    return sizes.train


def _val(sizes: Sizes, settings: Settings) -> float:
    return sizes.val


def _labels(sizes: Sizes, settings: Settings) -> float:
    return sizes.labels


def _once(sizes: Sizes, settings: Settings) -> float:
    return 1


_VLM = tuple(f"vision_language.{name}" for name in ("model", "image_size", "precision"))
_WSPN = tuple(f"train_wspn.{name}" for name in ("backbone", "min_size", "boxes", "hidden"))
_DETECTOR = tuple(f"train_detector.{name}" for name in ("backbone", "min_size"))
_TEACHER = tuple(f"teacher_network.{name}" for name in ("backbone", "min_size"))
_PRECISION = ("training.precision",)

WORK = {
    "toy": Work("scenes", _images),
    "ingest": Work("images", _images),
    "categories": Work("names", _once, fixed=True),
    "nouns": Work("captions", lambda sizes, settings: sizes.captions),
    "embed_text": Work("vocabularies", _once, ("text_embedder.model",), fixed=True),
    "gradcam": Work("pairs x maps", _maps, (*_VLM, "gradcam.score"), rows=lambda sizes: sizes.pairs),
    "selective_search": Work("images", _train, ("selective_search.mode",)),
    "train_wspn": Work("images", _steps("train_wspn"), _WSPN, fixed=True),
    "propose": Work("images", _train, ("propose.by", "propose.top_k")),
    "select_boxes": Work("pairs", lambda sizes, settings: sizes.pairs),
    "segment": Work("crops", lambda sizes, settings: sizes.pairs, ("segment.method", "segment.side")),
    "relabel": Work("images", _train, _DETECTOR, as_stage="detect"),
    "review": Work("labels", _labels),
    "label_quality": Work("images", _train, _DETECTOR, as_stage="detect"),
    "pseudo_labels": Work("labels", _labels),
    "train_detector": Work("images", _steps("train_detector"), (*_DETECTOR, *_PRECISION), fixed=True),
    "finetune_detector": Work(
        "images", _steps("finetune_detector"), (*_DETECTOR, *_PRECISION), fixed=True, as_stage="train_detector"
    ),
    "pretrain_captions": Work("images", _steps("pretrain_captions"), (*_TEACHER, *_PRECISION), fixed=True),
    "train_teacher": Work("images", _steps("train_teacher"), (*_TEACHER, *_PRECISION), fixed=True),
    "teacher_labels": Work("images", _train, _TEACHER, as_stage="detect"),
    "student_labels": Work("labels", _labels),
    "train_student": Work("images", _student_steps, (*_TEACHER, *_PRECISION), fixed=True),
    "label_noise": Work("images", _train, _TEACHER, as_stage="detect"),
    "detect": Work("images", _val, _DETECTOR),
    "evaluate_labels": Work("pairs", _measured_pairs, _VLM, fixed=True, as_stage="gradcam"),
    "evaluate_proposals": Work("images", _searched, fixed=True, as_stage="selective_search"),
    "evaluate": Work("images", lambda sizes, settings: sizes.val * sizes.detectors, fixed=True),
    "export": Work("images", _train, ("export.formats", "export.pictures")),
    "export_model": Work("models", _once, fixed=True),
    "gallery": Work("images", _images, ("gallery.side",)),
    "report": Work("sheets", lambda sizes, settings: settings["report.scenes"], fixed=True),
    "pretrain_vlm": Work("pairs", _steps("pretrain_vlm"), fixed=True),
    "pretrain_backbone": Work("objects", _steps("pretrain_backbone"), fixed=True),
    "overview": Work("pages", _once, fixed=True),
    "tables": Work("pages", _once, fixed=True),
}


_NETWORKS = ("train_detector.", "teacher_network.", "train_wspn.")  # of which stages of others read the sizes
_WITHOUT_PICTURES = ("categories", "nouns", "embed_text", "train_wspn", "propose", "overview", "tables", "export_model")
_SMALL = 320 * 240  # pixels; drawn scenes have fewer, photographs more


def depends(stage: str, settings: Settings, part: str, sizes: Sizes) -> dict[str, object]:
    """{key: value} of what the time of a stage's unit depends on: of its network (`backbone`, whoever trains it) and methods,
    and whether its pictures are small or photographs. part: the detector, where the stage runs once for each."""
    keys = WORK[stage].depends
    if stage == "detect" and part in ("train_teacher", "train_student"):
        keys = _TEACHER
    if settings.get("propose.by") == "wspn" and stage == "propose":
        keys = (*keys, *(key for key in _WSPN if key != "train_wspn.boxes"))
    found = {key.split(".", 1)[1] if key.startswith(_NETWORKS) else key: settings.get(key) for key in keys}
    if stage not in _WITHOUT_PICTURES and sizes.pixels:
        found["pictures"] = "small" if sizes.pixels < _SMALL else "photographs"
    return found
