"""Choose the pseudo-box of every pair among its image's proposals (OVIS, Eq. 6)."""

from store.stage import Stage

STAGE = Stage(
    name="select_boxes",
    reads=("images", "nouns", "gradcam", "wspn_proposals"),
    writes=("pseudo_boxes",),
    per="shard",
)


def run(job) -> None:
    import cv2
    import numpy as np

    from models.boxes import select_boxes
    from store.progress import progress
    from store.tables import activation_maps

    p = job.params
    sizes = {row["image_id"]: (row["height"], row["width"]) for row in job.rows("images")}
    proposals = {row["image_id"]: row["boxes"] for row in job.rows("wspn_proposals", ["image_id", "boxes"])}
    counts: dict[tuple[str, str], int] = {}
    for row in job.rows("nouns", ["image_id", "category", "count"]):
        key = row["image_id"], row["category"]
        meant = p.instances if row["count"] == 0 else min(row["count"], p.instances)
        counts[key] = max(counts.get(key, 1), meant)
    rows = progress(job.rows("gradcam"), description="choosing boxes", unit="pair", total=job.count("gradcam"))
    with job.writer("pseudo_boxes") as writer:
        for row in rows:
            image_id, category = row["image_id"], row["category"]
            boxes = proposals.get(image_id)
            height, width = sizes[image_id]
            if boxes is not None:
                whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
                ranks = np.flatnonzero(whole)
                for rank in np.flatnonzero(~whole):
                    job.reject(image_id, "empty_proposal", f"{boxes[rank].tolist()} has no area", category, rank)
            if boxes is None or len(ranks) == 0:
                job.reject(image_id, "no_proposal", "no box was proposed on this image", category)
                continue
            activation = activation_maps(row).max(0)
            if p.interpolation == "linear":
                activation = cv2.resize(activation, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
            chosen = select_boxes(
                activation,
                boxes[ranks],
                height=height,
                width=width,
                instances=counts.get((image_id, category), 1),
                min_share=p.min_share,
            )
            if not chosen:
                job.reject(image_id, "flat_activation", "no patch stands out for this noun", category)
            for instance, (index, score, coverage) in enumerate(chosen):
                rank = int(ranks[index])
                writer.add(
                    image_id=image_id,
                    category=category,
                    instance=instance,
                    box=boxes[rank],
                    score=score,
                    rank=rank,
                    coverage=min(coverage, 1.0),
                )


if __name__ == "__main__":
    STAGE.main(run)
