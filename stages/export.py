"""Write the labels in the formats that other tools read: COCO, YOLO, Label Studio, CVAT, Hugging Face, LVIS."""

from collections.abc import Iterator

from pipeline.conditions import uses_ovis_labels
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="export",
    reads=(
        "images",
        "captions",
        "categories",
        "nouns",
        Input("kept_labels", when=uses_ovis_labels),
        Input("student_labels", when=lambda config: not uses_ovis_labels(config)),
    ),
    writes=("export",),
)


def run(job) -> None:
    from types import SimpleNamespace

    from exports.writers import write_format
    from pipeline.labelled import as_kept, labelled, worst_images
    from sources.images import read_content
    from sources.vocabulary import read_vocabulary
    from structures.progress import progress
    from structures.ranks import rank_share

    p = job.params
    if job.has("kept_labels"):

        def labels() -> Iterator[dict]:
            return job.rows("kept_labels")
    else:
        share = rank_share(row["score"] for row in job.rows("student_labels", ["score"]))

        def labels() -> Iterator[dict]:
            return as_kept(job.rows("student_labels"), share)

    chosen = worst_images(labels(), p.worst) if p.worst else None

    def images() -> Iterator[dict]:
        return (row for row in job.images("train") if chosen is None or row["image_id"] in chosen)

    data = labelled(
        "pseudo-labels",
        read_vocabulary(job.paths("categories")[0]),
        images=images,
        labels=labels,
        captions=lambda: job.rows("captions"),
        nouns=lambda: job.rows("nouns", ["image_id", "category"]),
        sources=tuple(source.name for source in job.sources if source.name),
        content=lambda image: read_content(job.root, image["path"], image["sha256"]),
        left_out=lambda image, label, reason: job.reject(
            image["image_id"], "left_out", reason, label["category"], counted=False
        ),
    )
    for name in progress(p.formats, description="exporting", unit="format"):
        folder = job.scratch / "export" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_format(name, folder, data, pictures=p.pictures, **vars(getattr(p, name, SimpleNamespace())))
        _keep(job, folder, f"export/{name}")


def _keep(job, folder, path: str) -> None:
    """Make a folder's files outputs."""
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with job.file(f"{path}/{file.relative_to(folder).as_posix()}") as draft:
            file.replace(draft)


if __name__ == "__main__":
    STAGE.main(run)
