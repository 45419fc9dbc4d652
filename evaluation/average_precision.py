"""Average precision as COCO defines it, by pycocotools, over groups of images and categories."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of COCOeval.stats, in its order


def average_precision(
    images: dict[str, tuple[int, int]],
    annotations: list[dict],
    detections: list[dict],
    groups: dict[str, Sequence[str]],
    kind: str,
) -> dict[str, dict[str, float]]:
    """{group: {metric of METRICS: percent}}, over those of each group's categories that have an object.

    images: {image_id: (height, width)} of all that count; annotations: rows with image_id, category, bbox (xywh
    pixels), segmentation (RLE), area, iscrowd; detections: rows with image_id, category, score, bbox, segmentation;
    rows of other images or categories are passed over; groups: {group: categories}; kind: "bbox" or "segm". -1 where
    none of a group's categories has an object; crowds are none. Categories are matched one by one, so all share one
    evaluation. Whether a detection is small, medium or large is by the area of what is measured, its box or its mask,
    as in COCO's results of each kind.
    """
    categories = sorted({category for members in groups.values() for category in members})
    image_number = {image_id: i for i, image_id in enumerate(sorted(images), start=1)}
    category_number = {category: i for i, category in enumerate(categories, start=1)}

    def counts(row: dict) -> bool:
        return row["image_id"] in image_number and row["category"] in category_number

    def numbered(row: dict) -> dict:
        return {"image_id": image_number[row["image_id"]], "category_id": category_number[row["category"]]}

    ground_truth = COCO()
    ground_truth.dataset = {
        "info": {},
        "images": [{"id": image_number[i], "height": images[i][0], "width": images[i][1]} for i in sorted(images)],
        "categories": [{"id": i, "name": category} for category, i in category_number.items()],
        "annotations": [
            {
                "id": i,
                **numbered(row),
                "bbox": [float(v) for v in row["bbox"]],
                "segmentation": _rle(row),
                "area": float(row["area"]),
                "iscrowd": int(row["iscrowd"]),
            }
            for i, row in enumerate(annotations, start=1)
            if counts(row)
        ],
    }
    # loadRes takes a result's area from its box wherever there is one, so each kind is given its own shape alone.
    shape = {"bbox": lambda row: [float(v) for v in row["bbox"]], "segm": _rle}[kind]
    key = {"bbox": "bbox", "segm": "segmentation"}[kind]
    results = [{**numbered(row), key: shape(row), "score": float(row["score"])} for row in detections if counts(row)]
    if not ground_truth.dataset["annotations"] or not results:
        objects = (row for row in annotations if row["image_id"] in image_number and not row["iscrowd"])
        annotated = {row["category"] for row in objects}
        return {
            group: dict.fromkeys(METRICS, 0.0 if annotated.intersection(members) else -1.0)
            for group, members in groups.items()
        }
    scores = {}
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        whole = evaluation.eval
        for group, members in groups.items():
            columns = [category_number[category] - 1 for category in members]
            evaluation.eval = whole | {
                "precision": whole["precision"][:, :, columns],
                "recall": whole["recall"][:, columns],
            }
            evaluation.summarize()
            stats = np.asarray(evaluation.stats[: len(METRICS)])
            scores[group] = {m: float(value * 100 if value >= 0 else -1.0) for m, value in zip(METRICS, stats)}
    return scores


def _rle(row: dict) -> dict:
    """A row's mask as pycocotools takes it."""
    return {"size": [int(v) for v in row["segmentation"]["size"]], "counts": row["segmentation"]["counts"]}
