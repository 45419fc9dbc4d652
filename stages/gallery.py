"""Write the gallery: a page that opens from disk and shows every label with the steps that made it, what was rejected and
why, and what each detector finds."""

from collections.abc import Callable, Iterator

from pipeline.conditions import (
    estimates_noise,
    is_scored,
    measures_labels,
    trains,
    uses_ovis_labels,
    uses_ovis_labels_of_later_round,
    uses_teacher,
    uses_xpm_labels,
)
from pipeline.stage import Input, Stage

REJECTS = {  # of a stage: whose labels they would have become
    "ingest": "data",
    "nouns": "data",
    "gradcam": "ovis",
    "selective_search": "ovis",
    "propose": "ovis",
    "select_boxes": "ovis",
    "segment": "ovis",
    "relabel": "round",
    "label_quality": "round",
    "pseudo_labels": "ovis",
    "teacher_labels": "xpm",
    "student_labels": "xpm",
    "label_noise": "xpm",
}
CURVES = {
    "train_wspn": lambda config: uses_ovis_labels(config) and config["propose"]["by"] == "wspn",
    "train_detector": trains("train_detector"),
    "finetune_detector": trains("finetune_detector"),
    "pretrain_captions": lambda config: uses_teacher(config) and config["pretrain_captions"]["steps"] > 0,
    "train_teacher": uses_teacher,
    "train_student": trains("train_student"),
}


def _measures_labels(config: dict) -> bool:
    return uses_ovis_labels(config) and measures_labels(config)


WHEN = {
    "ovis": uses_ovis_labels,
    "round": uses_ovis_labels_of_later_round,
    "xpm": uses_xpm_labels,
    "data": lambda config: True,
} | {"student_labels": trains("train_student"), "label_noise": estimates_noise, "label_quality": _measures_labels}

STAGE = Stage(
    name="gallery",
    reads=(
        "images",
        "categories",
        "nouns",
        "annotations",
        "judged",
        "source_categories",
        Input("gradcam", when=uses_ovis_labels),
        Input("wspn_proposals", when=uses_ovis_labels),
        Input("pseudo_masks", when=uses_ovis_labels),
        Input("round_masks", when=uses_ovis_labels_of_later_round),
        Input("label_quality", when=_measures_labels),
        Input("kept_labels", when=uses_ovis_labels),
        Input("teacher_masks", when=uses_xpm_labels),
        Input("student_labels", when=trains("train_student")),
        Input("label_noise", when=estimates_noise),
        "detections",
        Input("metrics", when=is_scored),
        *(Input(f"{stage}/_rejects", when=WHEN.get(stage, WHEN[source])) for stage, source in REJECTS.items()),
        *(Input(f"{stage}/_curve", when=when) for stage, when in CURVES.items()),
    ),
    writes=("gallery",),
    mem_mb=8000,
    runtime=240,
)
LABELS = {"pseudo_masks": "ovis", "round_masks": "round", "teacher_masks": "xpm"}  # table: source


def run(job) -> None:
    with job.many_files() as save_output:
        _write(job, lambda path, content: save_output(f"gallery/{path}", content))


def _write(job, save) -> None:
    """Write the gallery. save: takes a path in its folder and the bytes that belong there."""
    from evaluation.gallery import summary
    from evaluation.gallery.index import Index
    from evaluation.gallery.page import page_files
    from evaluation.gallery.scripts import script
    from schemas.tables import TABLES
    from sources.vocabulary import read_vocabulary
    from store.sort import sort_rows

    vocabulary = read_vocabulary(job.paths("categories")[0])
    index = Index(save, {name: vocabulary.group(name) for name in vocabulary.names})
    rejecting = [f"{stage}/_rejects" for stage in REJECTS if _has_any(job, f"{stage}/_rejects")]
    files = [path for aside in rejecting for path in job.paths(aside)]
    rejects = sort_rows(files, ("image_id", "stage", "key"), job.scratch / "rejects")
    _add_labels(job, index, save, rejects())
    _add_detections(job, index, save)
    _add_rejects_without_picture(job, index, rejects())
    tables = [*LABELS, "gradcam", "label_quality", "kept_labels", "student_labels", "label_noise", "detections"]
    columns = ["stage", "reason", "counted"]
    content = {
        "curves": {
            stage: summary.curve(job.rows(f"{stage}/_curve")) for stage in CURVES if _has_any(job, f"{stage}/_curve")
        },
        "ap": summary.average_precisions(job.rows("metrics")) if job.has("metrics") else [],
        "rejects": summary.reject_counts(row for aside in rejecting for row in job.rows(aside, columns)),
        "notes": summary.column_notes({name: TABLES[name].schema for name in tables if job.has(name)}),
    }
    save("summary.js", script("summary", index.finish() | content))
    for name, page in page_files().items():
        save(name, page)


def _images(job, split: str) -> Iterator[dict]:
    """The images of a split that are shown: all, or so many as the parameter `images` says, evenly spread."""
    from itertools import islice

    every = -(-job.count_split(split) // job.params.images) if job.params.images else 1
    return islice(job.images(split), 0, None, max(1, every))


def _has_any(job, aside: str) -> bool:
    """Whether a stage of this run set something aside."""
    return job.has(aside) and bool(job.paths(aside))


def _add_labels(job, index, save, rejects: Iterator[dict]) -> None:
    """A row for every label of the training images, and for every reject that became none, with what was made on the way."""
    from evaluation.gallery.labels import image_of_labels, rows_of_image
    from models.grounding.maps import activation_maps
    from store.join import join_by_image

    names = (
        "nouns",
        "gradcam",
        "wspn_proposals",
        *LABELS,
        "label_quality",
        "kept_labels",
        "student_labels",
        "label_noise",
    )
    names = (*names, "annotations", "judged")
    wanted = {
        "student_labels": ["image_id", "category", "instance", "source", "agreement", "weight", "corruption"],
        "kept_labels": ["image_id", "category", "instance", "confidence", "decided_by"],
    }
    streams = {name: job.rows(name, wanted.get(name)) for name in names if job.has(name)}
    streams["rejects"] = rejects
    current = "round" if job.has("round_masks") else "ovis"
    judgements = _judgements(job)

    def items() -> Iterator[tuple]:
        for image_id, ([image], *tables) in join_by_image(_images(job, "train"), *streams.values()):
            rows = dict(zip(streams, tables))
            rows["judged"] = judgements(image_id, rows["judged"])
            if rows["rejects"] or any(rows.get(table) for table in LABELS):
                yield image, rows

    for image, rows, (small, jpeg) in _small_pictures(job, items(), "labels", job.count_split("train")):
        for row in rows.get("gradcam", []):
            row["maps"] = activation_maps(row)
        content = image_of_labels(index, image, rows, small, _picture_path(index))
        save(content["file"], jpeg)
        index.add(content, rows_of_image(index, rows, small, sources=LABELS, rejected=REJECTS, current=current))


def _add_detections(job, index, save) -> None:
    """A row for everything that a detector finds in a validation image and is sure of."""
    from heapq import nlargest

    from evaluation.gallery.labels import image_of_detections, rows_of_detections
    from store.join import join_by_image
    from store.parquet import read_rows

    p = job.params

    def found(path) -> Iterator[dict]:
        rows = read_rows([path], None, 64, where={"vocabulary": ["all"]})
        return (row for row in rows if row["score"] >= p.min_score)

    detectors = job.parts("detections")
    judgements = _judgements(job)
    streams = [job.rows("annotations"), job.rows("judged"), *(found(path) for path in job.paths("detections"))]

    def items() -> Iterator[tuple]:
        for image_id, ([image], truth, judged, *of_detectors) in join_by_image(_images(job, "val"), *streams):
            best = [nlargest(p.most_detections, rows, key=lambda row: row["score"]) for rows in of_detectors]
            if any(best):
                yield image, truth, judgements(image_id, judged), dict(zip(detectors, best))

    for image, truth, judged, detections, (small, jpeg) in _small_pictures(
        job, items(), "detections", job.count_split("val")
    ):
        content = image_of_detections(index, image, truth, detections, small, _picture_path(index))
        save(content["file"], jpeg)
        index.add(content, rows_of_detections(index, truth, judged, detections, small))


def _judgements(job) -> Callable[[str, list[dict]], list[dict]]:
    """A function of an image's id and its rows of `judged`: these, or, where it has none, such rows of what its source looks
    for everywhere."""
    from evaluation.judged import categories_of_sources, source_of

    found = categories_of_sources(job.rows("source_categories"))
    by_source = {source: [{"category": name, "exhaustive": True} for name in names] for source, names in found.items()}
    return lambda image_id, rows: rows or by_source.get(source_of(image_id), [])


def _add_rejects_without_picture(job, index, rejects: Iterator[dict]) -> None:
    """A row for every reject of a picture that the run does not have."""
    from evaluation.gallery.labels import reject_row
    from store.join import join_by_image

    for _, (of_image, known) in join_by_image(rejects, job.rows("images", ["image_id"])):
        for reject in of_image if not known else ():
            image = {"id": reject["image_id"], "path": "", "file": "", "captions": []}
            index.add(image, [reject_row(index, reject, REJECTS, [])])


def _small_pictures(job, items: Iterator[tuple], description: str, total: int) -> Iterator[tuple]:
    """(image, …, (evaluation.gallery.pictures.Small, JPEG bytes)) for every item (image, …) whose picture can be read."""
    from evaluation.gallery.pictures import Small

    def shrunk(picture, *_):
        small = Small(*picture.shape[:2], side=job.params.side)
        return small, small.jpeg(picture)

    return job.pictures(items, shrunk, description=description, total=total)


def _picture_path(index) -> str:
    """Where the next image's picture lies, a thousand in a folder."""
    return f"pictures/{index.images // 1000:03d}/{index.images:06d}.jpg"


if __name__ == "__main__":
    STAGE.main(run)
