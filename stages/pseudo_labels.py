"""Choose the pseudo-masks that are labels: what the detector learns from, and, as COCO JSON, what other trainers can take.

A label's confidence is a rank among all of them, 1 the best, near 0 the worst: of one measure, or of the mean of the ranks
of several. Measures themselves are not comparable (Eq. 6 grows with the picture). What a person decided about stays
whatever its measures, with confidence 1.
"""

from collections.abc import Callable, Iterator

from pipeline.conditions import first_round_alone, later_round_alone, measures_labels, reviewed
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="pseudo_labels",
    reads=(
        "images",
        Input("pseudo_masks", when=first_round_alone),
        Input("round_masks", when=later_round_alone),
        Input("reviewed_masks", when=reviewed),
        Input("label_quality", when=measures_labels),
        "categories",
    ),
    writes=("pseudo_labels", "kept_labels"),
    mem_mb=16000,
)


def run(job) -> None:
    from exports.coco import write_instances
    from pipeline.labelled import labelled
    from sources.vocabulary import read_vocabulary
    from structures.masks import box_of

    vocabulary = read_vocabulary(job.paths("categories")[0])
    confidences = _confidences(job, vocabulary)

    def labels(tell: bool = False) -> Iterator[dict]:
        for row, (confidence, is_sure) in zip(_kept(job, vocabulary, tell), confidences()):
            if not is_sure:
                if tell:
                    key, detail = (row["category"], row["instance"]), f"confidence {confidence:.3f}"
                    job.reject(row["image_id"], "low_confidence", detail, *key, counted=False)
                continue
            yield {
                "image_id": row["image_id"],
                "category": row["category"],
                "instance": row["instance"],
                "bbox": _xywh(row["box"]) if row["decision"] == "box" else box_of(row["segmentation"]),
                "confidence": confidence,
                "segmentation": row["segmentation"],
                "area": row["area"],
                "decided_by": row["decided_by"],
            }

    with job.writer("kept_labels") as writer:
        for label in labels(tell=True):
            writer.add(**label)
    with job.file("pseudo_labels/all.json") as draft:
        write_instances(draft, labelled("pseudo-labels", vocabulary, images=lambda: job.images("train"), labels=labels))


def _confidences(job, vocabulary) -> Callable[[], Iterator[tuple[float, bool]]]:
    """A function that gives the confidence of each of _kept's labels, in their order, and whether it is enough and above that
    of the worst: of those that tie all are, or none. In memory are about ten bytes a label."""
    from array import array

    from structures.ranks import above_share, mean_ranks
    from structures.spilled import Spilled

    p = job.params
    decided = array("b")
    columns = Spilled(job.scratch)
    for row in _kept(job, vocabulary):
        decided.append(bool(row["decided_by"]))
        if not decided[-1]:
            for name in p.measures:
                columns.add(name, array("f", [row[name]]).tobytes())  # as float32 as the tables have it
    ranks = mean_ranks(columns, p.measures)
    enough = above_share(ranks, p.worst)

    def confidences() -> Iterator[tuple[float, bool]]:
        others = zip(map(int, ranks), map(bool, enough))
        for is_decided in decided:
            if is_decided:
                yield 1.0, True
            else:
                rank, is_sure = next(others)
                confidence = rank / 2 / len(ranks)
                yield confidence, is_sure and confidence >= p.min_quality

    return confidences


def _kept(job, vocabulary, tell: bool = False) -> Iterator[dict]:
    """The masks that may be labels, with what is measured of them, sorted by key. tell: put the others aside."""
    from operator import itemgetter

    from store.join import join_by_image

    p = job.params
    [table] = [name for name in ("pseudo_masks", "round_masks", "reviewed_masks") if job.has(name)]
    quality = job.rows("label_quality") if job.has("label_quality") else iter(())
    for image_id, (rows, measured) in join_by_image(job.rows(table), quality):
        measures = {(row["category"], row["instance"]): row for row in measured}
        for row in sorted(rows, key=itemgetter("category", "instance")):
            row = _UNKNOWN | measures.get((row["category"], row["instance"]), {}) | row
            detail = ""
            if vocabulary.group(row["category"]) not in p.groups:
                continue
            decided = bool(row["decided_by"])
            if row["area"] < (1 if decided else p.min_area):
                reason, detail = "small_mask", f"{row['area']:.0f} pixels"
            elif not decided and row["agreement"] < p.min_agreement:
                reason, detail = "low_agreement", f"agreement {row['agreement']:.2f}"
            if not detail:
                yield row
            elif tell:
                job.reject(image_id, reason, detail, row["category"], row["instance"], counted=False)


# of a label that nobody looked at, and of which nothing more is measured
_UNKNOWN = {
    "decision": "",
    "decided_by": "",
    "margin": -1.0,
    "stability": 0.0,
    "mirrored": -1.0,
    "match": float("-inf"),
}
_UNKNOWN |= {"detector": 0.0, "detector_iou": 0.0}


def _xywh(box) -> list[float]:
    x0, y0, x1, y1 = (float(side) for side in box)
    return [x0, y0, x1 - x0, y1 - y0]


if __name__ == "__main__":
    STAGE.main(run)
