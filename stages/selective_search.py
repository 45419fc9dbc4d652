"""Propose boxes on every training image by selective search."""

from functools import partial

from pipeline.stage import Stage

STAGE = Stage(
    name="selective_search",
    reads=("images",),
    writes=("proposals",),
    per="shard",
    threads=8,
    runtime=60,
)


def search(picture, image: dict, seed: int, **options) -> tuple:
    """(boxes, scores) of one picture."""
    import cv2

    from models.proposals.selective_search import selective_search

    cv2.setNumThreads(1)
    return selective_search(picture, seed=seed, **options)


def run(job) -> None:
    p = job.params
    options = {"mode": p.mode, "min_side": p.min_side, "max_boxes": p.max_boxes} | vars(getattr(p, p.mode))

    def images():
        for image in job.images("train"):
            yield image, int(job.rng(image["image_id"]).integers(2**31)) if job.random else 0

    pictures = job.pictures(
        images(),
        partial(search, **options),
        description="selective search",
        total=job.count_split("train"),
        in_processes=True,
    )
    with job.writer("proposals") as writer:
        for image, _, (boxes, scores) in pictures:
            if len(boxes):
                writer.add(image_id=image["image_id"], boxes=list(boxes), scores=scores)
            else:
                job.reject(image["image_id"], "no_proposal", f"no box of {p.min_side} pixels or more")


if __name__ == "__main__":
    STAGE.main(run)
