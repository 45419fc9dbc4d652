"""Compare who proposes boxes on validation images, by the objects of each category that they find (OVIS, Fig. 2): the
teacher's region proposal network, taught by base boxes, WSPN, taught by base labels, and selective search, by nothing."""

from collections.abc import Callable, Iterator
from functools import partial

from pipeline.stage import Input, Stage

STAGE = Stage(
    name="evaluate_proposals",
    reads=(
        "images",
        "categories",
        "annotations",
        Input(
            "train_wspn",
            when=lambda config: (
                "wspn" in config["evaluate_proposals"]["generators"] and config["propose"]["by"] == "wspn"
            ),
        ),
        Input("train_teacher", when=lambda config: "rpn" in config["evaluate_proposals"]["generators"]),
    ),
    writes=("proposal_metrics",),
    shares=("selective_search", "propose"),
    gpu=1,
    threads=8,
    mem_mb=16000,
    runtime=120,
)


def search(picture, image: dict, seed: int, **options):
    """Selective search's boxes of one picture, N x 4 xyxy pixels."""
    import cv2

    from models.proposals.selective_search import selective_search

    cv2.setNumThreads(1)
    return selective_search(picture, seed=seed, **options)[0]


def run(job) -> None:
    import numpy as np

    from evaluation.proposal_recall import proposal_recall
    from sources.vocabulary import read_vocabulary
    from store.join import join_by_image
    from structures.errors import UserError

    generators = job.params.generators
    if not generators:
        raise UserError("evaluate_proposals.generators names none: say whose boxes are compared")
    if "wspn" in generators and not job.has("train_wspn"):
        raise UserError(
            f"evaluate_proposals.generators names wspn, but propose.by is {job.shared.propose.by}, so that there is no "
            "WSPN; leave it out, or set propose.by to wspn"
        )
    vocabulary = read_vocabulary(job.paths("categories")[0])
    known, truth = set(vocabulary.measured), job.rows_of_split("annotations", "val")

    def measured() -> Iterator[tuple[dict, list[dict]]]:
        """(row of images, its true objects) of every validation image that holds any."""
        for _, ([image], rows) in join_by_image(job.images("val"), truth()):
            objects = [row for row in rows if row["category"] in known]
            if objects:
                yield image, objects

    total, boxes = sum(1 for _ in measured()), {}
    if {"selective_search", "wspn"} & set(generators):  # before torch, whose threads processes can't be forked beside
        boxes["selective_search"] = _kept(job, "selective_search", _searched(job, measured(), total))
    if "wspn" in generators:
        searched = boxes["selective_search"]()
        boxes["wspn"] = _kept(job, "wspn", _moved_and_ranked(job, join_by_image(searched, job.images("val")), total))
    if "rpn" in generators:
        boxes["rpn"] = _kept(job, "rpn", _by_the_teacher(job, measured(), total))
    none = np.zeros((0, 4), np.float32)
    with job.writer("proposal_metrics") as writer:
        for generator in sorted(generators):
            objects = (row for _, rows in measured() for row in rows)
            images = (
                (rows, found[0]["boxes"] if found else none)
                for _, (rows, found) in join_by_image(objects, boxes[generator]())
            )
            for row in proposal_recall(images, vocabulary.group):
                writer.add(kind=generator, **row)


def _kept(job, generator: str, found: Iterator[tuple]) -> Callable[[], Iterator[dict]]:
    """A function that reads the boxes of (image_id, boxes) of every image, from a file."""
    from schemas.tables import TABLES
    from store.parquet import TableWriter, read_rows

    path, rules = job.scratch / f"{generator}.parquet", TABLES["proposals"]
    writer = TableWriter(path, rules.schema, rules.row_group)
    for image_id, boxes in found:
        writer.add(image_id=image_id, boxes=list(boxes), scores=[])
    writer.close()
    return partial(read_rows, [path])


def _searched(job, measured: Iterator[tuple], total: int):
    """(image_id, boxes) of every image in which selective search finds any, as the stage of its name searches."""
    p = job.shared.selective_search
    options = {"mode": p.mode, "min_side": p.min_side, "max_boxes": p.max_boxes} | vars(getattr(p, p.mode))

    def items() -> Iterator[tuple]:
        for image, _ in measured:
            yield image, int(job.rng(image["image_id"]).integers(2**31)) if job.random else 0

    pictures = job.pictures(
        items(),
        partial(search, **options),
        description="selective search",
        total=total,
        in_processes=True,
    )
    for image, _, boxes in pictures:
        if len(boxes):
            yield image["image_id"], boxes
        else:
            job.reject(image["image_id"], "no_proposal", f"no box of {p.min_side} pixels or more")


def _moved_and_ranked(job, searched: Iterator[tuple], total: int):
    """(image_id, boxes) of every image, as the stage propose has them of WSPN."""
    import torch

    from models.proposals.wspn import WSPN, propose
    from structures.pictures import float_on, uint8_tensor

    p = job.shared.propose
    tensors, settings = job.checkpoint("train_wspn")
    model = WSPN(**settings["wspn"])
    model.load_state_dict(tensors)
    model.to(job.device, memory_format=torch.channels_last).eval()
    pictures = job.pictures(
        ((image, boxes) for _, ([boxes], [image]) in searched),
        lambda picture, *_: uint8_tensor(picture),
        description="WSPN",
        total=total,
    )
    with torch.inference_mode():
        for image, row, picture in pictures:
            boxes = torch.tensor(row["boxes"], device=job.device)
            [(_, detection, offsets)] = model([float_on(job.device, picture)], [boxes])
            size = {"height": image["height"], "width": image["width"]}
            proposals, _ = propose(
                boxes, detection, offsets, **size, rank=p.wspn.rank, nms_iou=p.wspn.nms, top_k=p.top_k
            )
            yield image["image_id"], proposals.cpu().numpy()


def _by_the_teacher(job, measured: Iterator[tuple], total: int):
    """(image_id, boxes) of every image, of the teacher's region proposal network."""
    import torch

    from models.detector.mask_rcnn import load_detector
    from models.detector.region_proposals import region_proposals
    from structures.pictures import float_on, uint8_tensor

    model = load_detector(*job.checkpoint("train_teacher")).to(job.device, memory_format=torch.channels_last)
    pictures = job.pictures(
        ((image,) for image, _ in measured),
        lambda picture, _: uint8_tensor(picture),
        description="the teacher's region proposals",
        total=total,
    )
    for image, picture in pictures:
        [boxes] = region_proposals(model, [float_on(job.device, picture)])
        yield image["image_id"], boxes.cpu().numpy()


if __name__ == "__main__":
    STAGE.main(run)
