"""Gather what the student learns from: the teacher's pseudo-masks, Mask-free OVIS's, or both, with where each comes from.

Where both systems label one noun, masks that agree are trusted more and masks that don't less. A share of the labels can
be spoiled on purpose, to measure what noise does.
"""

from pipeline.stage import Stage

STAGE = Stage(
    name="student_labels",
    reads=("images", "pseudo_masks", "teacher_masks", "embeddings"),
    writes=("student_labels",),
    random=True,
)
SOURCES = {"ovis": "pseudo_masks", "xpm": "teacher_masks"}
COLUMNS = ["image_id", "category", "instance", "box", "score", "segmentation", "area"]


def run(job) -> None:
    from evaluation.label_quality import iou
    from store.join import by_image
    from structures.errors import UserError
    from structures.masks import decode, encode
    from structures.progress import progress

    p = job.params
    sources = [name for name, table in SOURCES.items() if job.has(table)]
    known = set(job.table("embeddings", ["category"])["category"].to_pylist())

    def labels():
        """(image_id, [(source, row), …]) of every image that has a label."""
        ids = sorted({row["image_id"] for source in sources for row in job.rows(SOURCES[source], ["image_id"])})
        tables = [job.rows(SOURCES[source], COLUMNS) for source in sources]
        for image_id, (_, *found) in by_image(({"image_id": image_id} for image_id in ids), *tables):
            yield image_id, [(source, row) for source, rows in zip(sources, found) for row in rows]

    written = 0
    with job.writer("student_labels") as writer:
        for image_id, rows in progress(labels(), description="student's labels", unit="image"):
            masks = [decode(row["segmentation"]) for _, row in rows]
            for i, (source, row) in enumerate(rows):
                if row["category"] not in known:
                    name = row["category"]
                    job.reject(image_id, "no_embedding", f"{name} has no vector: add it to embed_text.names", name)
                    continue
                others = [
                    masks[k]
                    for k, (other, its) in enumerate(rows)
                    if other != source and its["category"] == row["category"]
                ]
                agreement = max((iou(masks[i], other) for other in others), default=-1.0)
                trust = 1.0 if agreement < 0 else p.trust if agreement >= p.agreement else getattr(p.doubt, source)
                rng = job.rng(image_id, row["category"], row["instance"], source)
                spoiled = ""
                if rng.random() < p.spoiled:
                    if not p.keep_spoiled:
                        continue
                    spoiled, mask, box = _spoiled(rows, masks, i, rng)
                    row = row | {"box": box, "segmentation": encode(mask), "area": float(mask.sum())}
                if row["area"]:
                    writer.add(**row, source=source, agreement=agreement, trust=trust, spoiled=spoiled)
                    written += 1
    if not written:
        raise UserError("no pseudo-mask is left for the student; look at the rejects of the stages before")


def _spoiled(rows: list, masks: list, i: int, rng) -> tuple:
    """The kind of spoiling, and the label's mask and box after it; "swapped" needs another noun in the picture."""
    from models.xpm.corruption import KINDS, blown, shifted

    category, box = rows[i][1]["category"], rows[i][1]["box"]
    others = [k for k, (_, row) in enumerate(rows) if row["category"] != category]
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "swapped" and others:
        k = others[rng.integers(len(others))]
        return kind, masks[k], rows[k][1]["box"]
    if kind == "blown":
        return kind, *blown(masks[i], box, rng)
    return "shifted", *shifted(masks[i], box, rng)


if __name__ == "__main__":
    STAGE.main(run)
