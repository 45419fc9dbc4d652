"""Choose the pseudo-masks that are labels: what the detector learns from, and, as COCO JSON, what other trainers can take.

A label's confidence is the rank of its score among all of them: 1 the best, near 0 the worst. Scores themselves are not
comparable (Eq. 6 grows with the picture). What a person decided about stays whatever its measures, with confidence 1.
"""

from collections.abc import Iterator

from pipeline.conditions import first_round_alone, later_round_alone, reviewed
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="pseudo_labels",
    reads=(
        "images",
        Input("pseudo_masks", when=first_round_alone),
        Input("round_masks", when=later_round_alone),
        Input("reviewed_masks", when=reviewed),
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
    from structures.ranks import rank_share

    vocabulary = read_vocabulary(job.paths("categories")[0])
    share = rank_share(row["score"] for row in _kept(job, vocabulary, tell=True) if not row["decided_by"])

    def labels() -> Iterator[dict]:
        for row in _kept(job, vocabulary):
            decided = bool(row["decided_by"])
            yield {
                "image_id": row["image_id"],
                "category": row["category"],
                "instance": row["instance"],
                "bbox": _xywh(row["box"]) if row["decision"] == "box" else box_of(row["segmentation"]),
                "confidence": 1.0 if decided else share(row["score"]),
                "segmentation": row["segmentation"],
                "area": row["area"],
                "decided_by": row["decided_by"],
            }

    with job.writer("kept_labels") as writer:
        for label in labels():
            writer.add(**label)
    with job.file("pseudo_labels/all.json") as draft:
        write_instances(draft, labelled("pseudo-labels", vocabulary, images=lambda: job.images("train"), labels=labels))


def _kept(job, vocabulary, tell: bool = False) -> Iterator[dict]:
    """The masks that are labels, sorted by key. tell: put the others aside."""
    from itertools import groupby
    from operator import itemgetter

    p = job.params
    [table] = [name for name in ("pseudo_masks", "round_masks", "reviewed_masks") if job.has(name)]
    for image_id, rows in groupby(job.rows(table), itemgetter("image_id")):
        for row in sorted(rows, key=itemgetter("category", "instance")):
            row = {"decision": "", "decided_by": ""} | row
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


def _xywh(box) -> list[float]:
    x0, y0, x1, y1 = (float(side) for side in box)
    return [x0, y0, x1 - x0, y1 - y0]


if __name__ == "__main__":
    STAGE.main(run)
