"""Average precision as COCO defines it, by pycocotools, over groups of images and categories; with LVIS' rule (Gupta et al., 2019)
for categories of which an image may hold more objects than are annotated."""

import contextlib
import io
from collections.abc import Collection, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation.ground_truth import pairs_without_outline

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of COCOeval.stats, in its order
_PLACES = {"AP50": 0.5, "AP75": 0.75, "APs": "small", "APm": "medium", "APl": "large"}  # their IoU, or their areas
MAX_DETECTIONS = 100  # of a category in an image (COCO)


def average_precision(
    images: dict[str, tuple[int, int]],
    annotations: list[dict],
    detections: list[dict],
    groups: dict[str, Sequence[str]],
    kind: str,
    *,
    not_exhaustive: Collection[tuple[str, str]] = frozenset(),
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, dict[str, float]]:
    """{group: {metric of METRICS: percent}}, over those of each group's categories that have an object.

    images: {image_id: (height, width)} of all that count; annotations: rows with image_id, category, bbox (xywh
    pixels), segmentation (RLE, or None), area, iscrowd; detections: rows with image_id, category, score, bbox, segmentation;
    rows of other images or categories are passed over; groups: {group: categories}; kind: "bbox" or "segm"; not_exhaustive:
    (image_id, category) of which more may be there than is annotated: what is found beyond it is ignored; max_detections: of
    a category in an image that count, best first. -1 where none of a group's categories has an object; crowds are none, and of
    masks objects with a box alone: what else is found of their category in their image is ignored. Categories are matched one by
    one, so all share one evaluation. Whether a detection is small, medium or large is by the area of what is measured, its box
    or its mask, as in COCO's results of each kind.
    """
    categories = sorted({category for members in groups.values() for category in members})
    image_number = {image_id: i for i, image_id in enumerate(sorted(images), start=1)}
    category_number = {category: i for i, category in enumerate(categories, start=1)}

    def counts(row: dict) -> bool:
        return row["image_id"] in image_number and row["category"] in category_number

    def numbered(row: dict) -> dict:
        return {"image_id": image_number[row["image_id"]], "category_id": category_number[row["category"]]}

    annotations = [row for row in annotations if counts(row)]
    if kind == "segm":
        not_exhaustive = {*not_exhaustive, *pairs_without_outline(annotations)}
        annotations = [row for row in annotations if row["segmentation"] is not None]
    key = {"bbox": "bbox", "segm": "segmentation"}[kind]
    # loadRes takes a result's area from its box wherever there is one, so each kind is given its own shape alone.
    shape = {"bbox": lambda row: [float(v) for v in row["bbox"]], "segm": _rle}[kind]
    ground_truth = COCO()
    ground_truth.dataset = {
        "info": {},
        "images": [{"id": image_number[i], "height": images[i][0], "width": images[i][1]} for i in sorted(images)],
        "categories": [{"id": i, "name": category} for category, i in category_number.items()],
        "annotations": [
            {"id": i, **numbered(row), key: shape(row), "area": float(row["area"]), "iscrowd": int(row["iscrowd"])}
            for i, row in enumerate(annotations, start=1)
        ],
    }
    results = [{**numbered(row), key: shape(row), "score": float(row["score"])} for row in detections if counts(row)]
    if not annotations or not results:
        annotated = {row["category"] for row in annotations if not row["iscrowd"]}
        return {
            group: dict.fromkeys(METRICS, 0.0 if annotated.intersection(members) else -1.0)
            for group, members in groups.items()
        }
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth.createIndex()
        evaluation = _FederatedEval(ground_truth, ground_truth.loadRes(results), kind)
        evaluation.not_exhaustive = {
            (image_number[image_id], category_number[category])
            for image_id, category in not_exhaustive
            if image_id in image_number and category in category_number
        }
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return {
        group: _means(evaluation, [category_number[category] - 1 for category in members])
        for group, members in groups.items()
    }


class _FederatedEval(COCOeval):
    """COCO's evaluation, in which detections that match nothing are ignored in some (image, category), by their numbers."""

    not_exhaustive: Collection[tuple[int, int]] = ()

    def evaluateImg(self, imgId, catId, aRng, maxDet):  # pycocotools' names
        matches = super().evaluateImg(imgId, catId, aRng, maxDet)
        if matches and (imgId, catId) in self.not_exhaustive:
            matches["dtIgnore"] = np.logical_or(matches["dtIgnore"], matches["dtMatches"] == 0)
        return matches


def _means(evaluation: COCOeval, columns: list[int]) -> dict[str, float]:
    """Each of METRICS over some categories, in percent; -1 where none has an object."""
    params, precision = evaluation.params, evaluation.eval["precision"][..., 0][:, :, columns]
    means = {}
    for metric in METRICS:
        place = _PLACES.get(metric)
        area = params.areaRngLbl.index(place if isinstance(place, str) else "all")
        of_metric = precision[params.iouThrs == place] if isinstance(place, float) else precision
        known = of_metric[..., area]
        known = known[known > -1]
        means[metric] = float(np.mean(known) * 100) if len(known) else -1.0
    return means


def _rle(row: dict) -> dict:
    """A row's mask as pycocotools takes it."""
    return {"size": [int(v) for v in row["segmentation"]["size"]], "counts": row["segmentation"]["counts"]}
