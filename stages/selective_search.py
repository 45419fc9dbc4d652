"""Propose boxes on every training image by selective search."""

from pipeline.stage import Stage

STAGE = Stage(name="selective_search", reads=("images",), writes=("proposals",), per="shard", random=True)


def search(task: tuple) -> tuple:
    """(boxes, scores) of one picture, or its fault."""
    import cv2

    from models.proposals.selective_search import selective_search
    from sources.images import ImageError, read_image

    root, path, seed, options = task
    cv2.setNumThreads(1)
    try:
        return selective_search(read_image(root, path), seed=seed, **options)
    except ImageError as error:
        return error.reason, str(error)


def run(job) -> None:
    from concurrent.futures import ProcessPoolExecutor

    from structures.progress import progress

    rows = [row for row in job.rows("images", ["image_id", "path", "split"]) if row["split"] == "train"]
    options = vars(job.params)
    tasks = [(job.root, row["path"], int(job.rng(row["image_id"]).integers(2**31)), options) for row in rows]
    with job.writer("proposals") as writer, ProcessPoolExecutor(job.threads) as pool:
        results = pool.map(search, tasks, chunksize=4)
        for row, (boxes, scores) in zip(
            rows, progress(results, description="selective search", unit="image", total=len(rows))
        ):
            if isinstance(boxes, str):
                job.reject(row["image_id"], boxes, scores)
            elif len(boxes) == 0:
                job.reject(row["image_id"], "no_proposal", f"no box of {job.params.min_side} pixels or more")
            else:
                writer.add(image_id=row["image_id"], boxes=list(boxes), scores=scores)


if __name__ == "__main__":
    STAGE.main(run)
