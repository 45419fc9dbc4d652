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
        "source_categories",
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
    from evaluation.judged import Judges
    from evaluation.protocols import protocol_scores
    from sources.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(job.paths("categories")[0])
    ancestors = _hierarchy(job)
    judges = Judges(ancestors, job.rows("source_categories"))
    truth, judged = (job.rows_of_split(table, "val") for table in ("annotations", "judged"))
    _log_what_counts(job, truth, ancestors, vocabulary)
    with job.writer("metrics") as writer:
        for detector, path in zip(job.parts("detections"), job.paths("detections")):

            def images(competing: str, detector=detector, path=path):
                return _detected(job, path, competing, truth, judged, ancestors, judges, f"scoring {detector}")

            settings = (vocabulary.base, vocabulary.novel, job.params.max_detections, job.scratch)
            for row in protocol_scores(images, *settings):
                writer.add(detector=detector, **row)
        if job.has("label_metrics"):
            for row in job.rows("label_metrics"):
                writer.add(detector="", **row)
        if job.has("proposal_metrics"):
            for row in job.rows("proposal_metrics"):
                writer.add(detector="", **row)
        if job.has("kept_labels"):
            for row in _confidence(job, ancestors, vocabulary):
                writer.add(detector="", protocol="kept_labels", kind="confidence", **row)
        if job.has("label_noise"):
            for row in _reliability(job, ancestors, vocabulary):
                writer.add(detector="train_student", protocol="reliability", **row)


def _detected(job, path, competing: str, truth, judged, ancestors, judges, description: str) -> Iterator[tuple]:
    """((height, width), annotations, detections of what was judged, categories that are not annotated exhaustively) of every
    validation image. path: of the detections, of which those count for which the names `competing` competed."""
    from evaluation.judged import of_judged, with_ancestors
    from store.join import join_by_image
    from store.parquet import read_rows
    from structures.progress import progress

    columns = ["image_id", "vocabulary", "category", "score", "bbox", "segmentation"]
    found = read_rows([path], columns, where={"vocabulary": [competing]})
    images = join_by_image(job.images("val"), truth(), judged(), found)
    for image_id, rows in progress(images, description=description, unit="image"):
        [image], annotations, of_judges, detections = rows
        counted = of_judged(detections, judges.judged(image_id, of_judges))
        objects, partial = list(with_ancestors(annotations, ancestors)), judges.not_exhaustive(of_judges)
        yield (image["height"], image["width"]), objects, counted, partial


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


def _log_what_counts(job, truth, ancestors, vocabulary) -> None:
    """How many images and annotations each protocol is measured on."""
    from collections import Counter

    from evaluation.judged import with_ancestors
    from store.join import join_by_image

    images, annotations = Counter(), Counter()
    for _, (rows,) in join_by_image(truth()):
        groups = [
            name
            for name in ("measured", "base", "novel")
            for row in with_ancestors(rows, ancestors)
            if row["category"] in getattr(vocabulary, name)
        ]
        annotations.update(groups)
        images.update(set(groups))
    log.info("generalized scores are of %d of %d validation images", images["measured"], job.count_split("val"))
    for group in ("base", "novel"):
        log.info("%s: %d annotations, crowds counted, in %d images", group, annotations[group], images[group])


def _with_iou(job, labels: Iterator[dict], ancestors, vocabulary) -> Iterator[tuple[dict, str, float]]:
    """(label, its category's group, the IoU of its mask with the most alike true one) of what was judged, and outlined
    exhaustively. labels: sorted by image."""
    from evaluation.ground_truth import annotations_by_category, categories_without_outline
    from evaluation.judged import Judges, of_judged, with_ancestors
    from evaluation.label_quality import best_iou
    from store.join import join_by_image
    from structures.progress import progress

    judges, measured = Judges(ancestors, job.rows("source_categories")), set(vocabulary.measured)
    truth = job.rows("annotations", ["image_id", "category", "segmentation"])
    images = join_by_image(labels, truth, job.rows("judged"))
    for image_id, (rows, annotations, judged) in progress(images, description="labels against the truth", unit="image"):
        truths = list(with_ancestors(annotations, ancestors))
        objects = annotations_by_category(truths)
        partial = judges.not_exhaustive(judged) | categories_without_outline(truths)
        for row in of_judged(rows, judges.judged(image_id, judged), partial):
            if row["category"] in measured:
                outlines = [annotation["segmentation"] for annotation in objects.get(row["category"], [])]
                yield row, vocabulary.group(row["category"]), best_iou(row["segmentation"], outlines)


def _confidence(job, ancestors, vocabulary) -> Iterator[dict]:
    """Of the labels that a detector learned from: the rank correlation of their confidence with the IoU."""
    from collections import defaultdict

    from structures.ranks import RankCorrelation

    columns = ["image_id", "category", "confidence", "segmentation"]
    of_groups = defaultdict(lambda: RankCorrelation(job.scratch), all=RankCorrelation(job.scratch))
    for row, group, iou in _with_iou(job, job.rows("kept_labels", columns), ancestors, vocabulary):
        for name in ("all", group):
            of_groups[name].add(row["confidence"], iou)
    for group, correlation in sorted(of_groups.items()):
        yield {"group": group, "metric": "rank_correlation", "value": correlation.value()}


def _reliability(job, ancestors, vocabulary) -> Iterator[dict]:
    """Of the student's labels, by where they come from: mean IoU with the truth, and its rank correlation with
    alpha."""
    from collections import defaultdict
    from itertools import product

    from store.join import join_by_image
    from structures.ranks import RankCorrelation

    def known() -> Iterator[dict]:
        """The labels of which the noise is known, each with its alpha."""
        columns = ["image_id", "category", "instance", "source"]
        labels, noises = (
            job.rows("student_labels", [*columns, "segmentation"]),
            job.rows("label_noise", [*columns, "alpha"]),
        )
        for _, (rows, of_image) in join_by_image(labels, noises):
            alphas = {tuple(row[name] for name in columns): row["alpha"] for row in of_image}
            for row in rows:
                key = tuple(row[name] for name in columns)
                if key in alphas:
                    yield row | {"alpha": alphas[key]}

    pairs = defaultdict(lambda: RankCorrelation(job.scratch), {("all", "all"): RankCorrelation(job.scratch)})
    for row, group, iou in _with_iou(job, known(), ancestors, vocabulary):
        for key in product(("all", row["source"]), ("all", group)):
            pairs[key].add(row["alpha"], iou)
    for (source, group), correlation in sorted(pairs.items()):
        mean = float(correlation.column("b").mean()) if correlation.pairs else -1.0
        yield {"kind": source, "group": group, "metric": "iou", "value": mean}
        yield {"kind": source, "group": group, "metric": "rank_correlation", "value": correlation.value()}


if __name__ == "__main__":
    STAGE.main(run)
