"""Gather what the student learns from: the teacher's pseudo-masks, Mask-free OVIS's, or both, with where each comes
from.

Where both systems label one noun, masks that agree weigh more and masks that don't less. A share of the labels can be
corrupted on purpose, to measure what noise does.
"""

from pipeline.conditions import first_round_alone, later_round_alone, reviewed
from pipeline.stage import Input, Stage


def labelled_by_ovis(config: dict) -> bool:
    """Whether the student learns from Mask-free OVIS's labels, alone or beside the teacher's."""
    return config["student_labels"]["labels"] != "xpm"


STAGE = Stage(
    name="student_labels",
    reads=(
        "images",
        Input("pseudo_masks", when=lambda config: labelled_by_ovis(config) and first_round_alone(config)),
        Input("round_masks", when=lambda config: labelled_by_ovis(config) and later_round_alone(config)),
        Input("reviewed_masks", when=lambda config: labelled_by_ovis(config) and reviewed(config)),
        Input("teacher_masks", when=lambda config: config["student_labels"]["labels"] != "ovis"),
        "embeddings",
    ),
    writes=("student_labels",),
    random=lambda config: config["student_labels"]["corrupted_fraction"] > 0,
    mem_mb=8000,
)
SOURCES = {"pseudo_masks": "ovis", "round_masks": "ovis", "reviewed_masks": "ovis", "teacher_masks": "xpm"}
COLUMNS = ["image_id", "category", "instance", "box", "score", "segmentation", "area"]


def run(job) -> None:
    import heapq
    from operator import itemgetter

    from store.join import join_by_image
    from structures.errors import UserError
    from structures.masks import iou
    from structures.progress import progress

    p = job.params
    sources = {source: table for table, source in SOURCES.items() if job.has(table)}
    embedded = set(job.table("embeddings", ["category"])["category"].to_pylist())

    def labels():
        """(image_id, [(source, row), …]) of every image that has a label."""
        ids = heapq.merge(*(job.rows(table, ["image_id"]) for table in sources.values()), key=itemgetter("image_id"))
        tables = [job.rows(table, COLUMNS) for table in sources.values()]
        for image_id, (_, *of_image) in join_by_image(ids, *tables):
            yield image_id, [(source, row) for source, rows in zip(sources, of_image) for row in rows]

    def weight(agreement: float, source: str) -> float:
        """The factor on a label's reliability; agreement: with the other source's mask, -1 where there is none."""
        if agreement < 0:
            return 1.0
        return p.both.agree_weight if agreement >= p.both.agreement_iou else getattr(p.both.disagree_weight, source)

    labels_written = 0
    with job.writer("student_labels") as writer:
        for image_id, rows in progress(labels(), description="student's labels", unit="image"):
            for i, (source, row) in enumerate(rows):
                category = row["category"]
                if category not in embedded:
                    detail = f"{category} has no vector: add it to embed_text.names"
                    job.reject(image_id, "no_embedding", detail, category)
                    continue
                rivals = [r["segmentation"] for other, r in rows if other != source and r["category"] == category]
                agreement = max((iou(row["segmentation"], rival) for rival in rivals), default=-1.0)
                corruption = ""
                if job.random:
                    rng = job.rng(image_id, category, row["instance"], source)
                    if rng.random() < p.corrupted_fraction:
                        if not p.keep_corrupted:
                            continue
                        corruption, row = _corrupted(rows, i, rng)
                if row["area"]:
                    label = {"source": source, "agreement": agreement, "weight": weight(agreement, source)}
                    writer.add(**row, **label, corruption=corruption)
                    labels_written += 1
    if not labels_written:
        raise UserError("no pseudo-mask is left for the student; look at the rejects of the stages before")


def _corrupted(rows: list[tuple[str, dict]], i: int, rng) -> tuple[str, dict]:
    """The kind of corruption, and the label after it; "swapped" needs another noun in the picture."""
    from models.xpm.corruption import KINDS, blown_up, shifted
    from structures.masks import decode, encode

    row = rows[i][1]
    mask = decode(row["segmentation"])
    others = [other for _, other in rows if other["category"] != row["category"]]
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "swapped" and others:
        other = others[rng.integers(len(others))]
        mask, box = decode(other["segmentation"]), other["box"]
    elif kind == "blown_up":
        mask, box = blown_up(mask, row["box"], rng)
    else:
        kind = "shifted"
        mask, box = shifted(mask, row["box"], rng)
    return kind, row | {"box": box, "segmentation": encode(mask), "area": float(mask.sum())}


if __name__ == "__main__":
    STAGE.main(run)
