"""Lay what people decided over the pseudo-masks: kept, dropped, of another category, with another mask or box, drawn anew.

All decisions count or none: one that does not fit this run's labels stops the stage, which names its row.
"""

from collections.abc import Iterator

from pipeline.conditions import first_round, later_round
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="review",
    reads=(
        "images",
        Input("pseudo_masks", when=first_round),
        Input("round_masks", when=later_round),
        "categories",
    ),
    writes=("reviewed_masks",),
)


def run(job) -> None:
    import logging
    from collections import Counter
    from itertools import groupby
    from operator import itemgetter

    from sources.decisions import read_decisions
    from sources.reviewed import Review
    from sources.vocabulary import read_vocabulary
    from structures.errors import UserError

    if "decisions" not in job.files:
        raise UserError("review.decisions names no file of decisions")
    vocabulary = read_vocabulary(job.paths("categories")[0])
    decisions = read_decisions(job.files["decisions"], job.params.reviewer, job.files.get("handed_out"))
    table = "round_masks" if job.has("round_masks") else "pseudo_masks"

    def labels() -> Iterator[tuple[str, list[dict]]]:
        return ((image_id, list(rows)) for image_id, rows in groupby(job.rows(table), itemgetter("image_id")))

    review = Review(decisions, vocabulary.names)
    drawn_in = review.drawn_in
    images = (row for row in job.images("train") if row["image_id"] in drawn_in)
    review.check(labels(), {row["image_id"]: (row["height"], row["width"]) for row in images})
    counts: Counter = Counter()
    with job.writer("reviewed_masks") as writer:
        for rows, dropped in review.apply(labels()):
            for row in rows:
                writer.add(**row)
                counts[row["decision"] or "not looked at"] += 1
            for row, decision in dropped:
                detail = f"by {decision.by} ({decision.where})"
                job.reject(row["image_id"], "dropped", detail, row["category"], row["instance"], counted=False)
                counts["dropped"] += 1
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    logging.getLogger("cap2mask").info("labels: %s", told)


if __name__ == "__main__":
    STAGE.main(run)
