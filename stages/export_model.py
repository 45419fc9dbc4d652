"""Write a trained detector as an ONNX file that other programs run, names as an input, with a model card."""

from pipeline.conditions import is_scored, uses_ovis_labels
from pipeline.stage import Input, Stage

_DETECTORS = ("train_detector", "finetune_detector", "train_teacher", "train_student")


def _leaves(*detectors: str):
    """Whether one of these detectors is exported, as a condition."""
    return lambda config: config["export"]["onnx"] in detectors


STAGE = Stage(
    name="export_model",
    reads=(
        "images",
        "embeddings",
        *(Input(detector, when=_leaves(detector)) for detector in _DETECTORS),
        Input("kept_labels", when=lambda config: uses_ovis_labels(config) and not _leaves("train_teacher")(config)),
        Input("student_labels", when=_leaves("train_student")),
        Input("metrics", when=is_scored),
    ),
    writes=("export_model",),
    shares=("export.onnx", "detect", "seed"),
)


def run(job) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from exports.model_card import model_card
    from exports.onnx_model import write_onnx
    from models.detector.mask_rcnn import load_detector
    from models.detector.one_image import MASK_THRESHOLD, OneImageDetector
    from structures.errors import UserError

    detector = job.shared.export.onnx
    if not detector:
        raise UserError("no detector is named: export.onnx is one that the run trains, as train_detector")
    p = job.shared.detect
    thresholds = {"score_threshold": p.score_threshold, "nms_iou": p.nms, "max_detections": p.max_detections}
    tensors, settings = job.checkpoint(detector)
    network = OneImageDetector(load_detector(tensors, settings, detector), **thresholds)
    properties = {"detector": detector, "mask_threshold": MASK_THRESHOLD, **thresholds}
    properties["text_embedder"] = _told(settings["text_embedder"])
    with job.file("export_model/model.onnx") as draft:
        write_onnx(draft, network, network.example(), properties)
    rows = job.table("embeddings").to_pylist()
    with job.file("export_model/vectors.safetensors") as draft:
        save_file({row["category"]: np.array(row["vector"], np.float32) for row in rows}, draft)
    card = model_card(
        detector,
        settings=settings["detector"],
        properties=properties,
        counts=_counts(job),
        decided=_decided(job) if job.has("kept_labels") else 0,
        seed=job.shared.seed,
        vocabulary={row["category"]: row["group"] for row in rows},
        scores=[row for row in job.rows("metrics") if row["detector"] == detector] if job.has("metrics") else [],
    )
    with job.file("export_model/README.md") as draft:
        draft.write_text(card, encoding="utf-8", newline="\n")


def _told(embedder: dict) -> dict:
    """What a text embedder's section says to others: weights by their name on the hub, or the file's, not where they lie."""
    import re
    from pathlib import Path

    weights = embedder["weights"]
    name = weights if re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", weights) else Path(weights).name
    return {"model": embedder["model"], "weights": name, "prompts": embedder["prompts"]}


def _decided(job) -> int:
    """How many pseudo-labels people looked at."""
    return sum(bool(row["decided_by"]) for row in job.rows("kept_labels", ["image_id", "decided_by"]))


def _counts(job) -> dict[str, int]:
    """How many pictures and pseudo-labels there were to learn from."""
    counts = {"training pictures": job.count_split("train")}
    table = next((table for table in ("student_labels", "kept_labels") if job.has(table)), "")
    return counts | (
        {"pseudo-labels": job.count(table), "pictures with some": job.count_images(table)} if table else {}
    )


if __name__ == "__main__":
    STAGE.main(run)
