"""Score each detector as the papers do: constrained and generalized, base, novel and all, boxes and masks; and how well
the confidence of labels, and a student's reliability (XPM, Eq. 7), tell good masks from bad ones."""

import logging
from collections.abc import Iterator

from pipeline.conditions import compares_proposals, estimates_noise, uses_ovis_labels
from pipeline.stage import Input, Stage

log = logging.getLogger("cap2mask")

STAGE = Stage(
    name="evaluate",
    reads=(
        "images",
        "categories",
        "annotations",
        "judged",
        "detections",
        Input("label_metrics", when=uses_ovis_labels),
        Input("kept_labels", when=uses_ovis_labels),
        Input("proposal_metrics", when=compares_proposals),
        Input("student_labels", when=estimates_noise),
        Input("label_noise", when=estimates_noise),
    ),
    writes=("metrics",),
    threads=1,
    mem_mb=16000,
)


def run(job) -> None:
    from evaluation.judged import judged_categories, not_exhaustive_pairs, with_ancestors
    from evaluation.protocols import protocol_scores
    from sources.vocabulary import read_vocabulary
    from structures.progress import progress

    vocabulary = read_vocabulary(job.paths("categories")[0])
    images = {row["image_id"]: (row["height"], row["width"]) for row in job.images("val")}
    ancestors = _hierarchy(job)
    truth = list(with_ancestors(job.rows("annotations"), ancestors))
    judged = judged_categories(job.rows("judged"), images, ancestors)
    not_exhaustive = not_exhaustive_pairs(job.rows("judged"), images, ancestors)
    detections: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections"):
        detections.setdefault((row["detector"], row["vocabulary"]), []).append(row)
    _log_what_counts(images, truth, vocabulary)
    with job.writer("metrics") as writer:
        for detector in job.parts("detections"):
            by_names = {group: rows for (owner, group), rows in detections.items() if owner == detector}
            scores = protocol_scores(
                images,
                truth,
                by_names,
                vocabulary.base,
                vocabulary.novel,
                judged,
                not_exhaustive,
                job.params.max_detections,
            )
            for row in progress(scores, description=f"scoring {detector}", unit="value"):
                writer.add(detector=detector, **row)
        if job.has("label_metrics"):
            for row in job.rows("label_metrics"):
                writer.add(detector="", **row)
        if job.has("proposal_metrics"):
            for row in job.rows("proposal_metrics"):
                writer.add(detector="", **row)
        if job.has("kept_labels"):
            for row in _confidence(job, truth, ancestors, vocabulary):
                writer.add(detector="", protocol="kept_labels", kind="confidence", **row)
        if job.has("label_noise"):
            for row in _reliability(job, truth, ancestors, vocabulary):
                writer.add(detector="train_student", protocol="reliability", **row)


def _hierarchy(job) -> dict[str, tuple[str, ...]]:
    """{category: its ancestors}, where the configuration names a hierarchy of the categories."""
    from sources.openimages_classes import read_hierarchy
    from structures.errors import UserError

    if "hierarchy" not in job.files:
        return {}
    if "classes" not in job.files:
        raise UserError(
            "evaluate.hierarchy is set, evaluate.classes is not: name the CSV of the classes' names there, as ingest does"
        )
    return read_hierarchy(job.files["hierarchy"], job.files["classes"])


def _log_what_counts(images: dict, truth: list[dict], vocabulary) -> None:
    """How many images and annotations each protocol is measured on."""
    from evaluation.ground_truth import images_holding

    of_val = [row for row in truth if row["image_id"] in images]
    counts = {name: len(images_holding(of_val, getattr(vocabulary, name))) for name in ("measured", "base", "novel")}
    log.info("generalized scores are of %d of %d validation images", counts["measured"], len(images))
    for group in ("base", "novel"):
        annotations = sum(row["category"] in getattr(vocabulary, group) for row in of_val)
        log.info("%s: %d annotations, crowds counted, in %d images", group, annotations, counts[group])


def _with_iou(
    labels: Iterator[dict], job, image_ids, truth: list[dict], ancestors, vocabulary
) -> Iterator[tuple[dict, str, float]]:
    """(label, its category's group, the IoU of its mask with the most alike true one) of what was judged, and outlined
    exhaustively, in the images."""
    from evaluation.ground_truth import annotations_by_image_and_category, pairs_without_outline
    from evaluation.judged import judged_categories, not_exhaustive_pairs, of_judged
    from evaluation.label_quality import best_iou
    from structures.progress import progress

    judged = judged_categories(job.rows("judged"), image_ids, ancestors)
    partial = not_exhaustive_pairs(job.rows("judged"), image_ids, ancestors) | pairs_without_outline(truth)
    objects = annotations_by_image_and_category(truth)
    for row in progress(of_judged(labels, judged, partial), description="labels against the truth", unit="label"):
        if row["category"] in vocabulary.measured:
            annotations = objects.get((row["image_id"], row["category"]), [])
            iou = best_iou(row["segmentation"], [annotation["segmentation"] for annotation in annotations])
            yield row, vocabulary.group(row["category"]), iou


def _confidence(job, truth: list[dict], ancestors, vocabulary) -> Iterator[dict]:
    """Of the labels that a detector learned from: the rank correlation of their confidence with the IoU."""
    import pandas as pd

    from evaluation.label_quality import rank_correlation

    columns = ["image_id", "category", "confidence", "segmentation"]
    labelled = {row["image_id"] for row in job.rows("kept_labels", ["image_id"])}
    labels = _with_iou(job.rows("kept_labels", columns), job, labelled, truth, ancestors, vocabulary)
    frame = pd.DataFrame(((group, row["confidence"], iou) for row, group, iou in labels), columns=("group", "a", "b"))
    for group, of_group in [("all", frame), *frame.groupby("group")]:
        yield {"group": group, "metric": "rank_correlation", "value": rank_correlation(of_group.a, of_group.b)}


def _reliability(job, truth: list[dict], ancestors, vocabulary) -> Iterator[dict]:
    """Of the student's labels, by where they come from: mean IoU with the truth, and its rank correlation with
    alpha."""
    import pandas as pd

    from evaluation.label_quality import rank_correlation

    columns = ("image_id", "category", "instance", "source")
    alphas = {
        tuple(row[name] for name in columns): row["alpha"] for row in job.rows("label_noise", [*columns, "alpha"])
    }
    known = (
        row
        for row in job.rows("student_labels", [*columns, "segmentation"])
        if tuple(row[name] for name in columns) in alphas
    )
    rows = [
        (row["source"], group, alphas[tuple(row[name] for name in columns)], iou)
        for row, group, iou in _with_iou(known, job, {key[0] for key in alphas}, truth, ancestors, vocabulary)
    ]
    frame = pd.DataFrame(rows, columns=("source", "group", "alpha", "iou"))
    for source, of_source in [("all", frame), *frame.groupby("source")]:
        for group, of_group in [("all", of_source), *of_source.groupby("group")]:
            yield {"kind": source, "group": group, "metric": "iou", "value": float(of_group.iou.mean())}
            correlation = rank_correlation(of_group.alpha, of_group.iou)
            yield {"kind": source, "group": group, "metric": "rank_correlation", "value": correlation}


if __name__ == "__main__":
    STAGE.main(run)
