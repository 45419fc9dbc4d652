"""Average precision as COCO defines it, by pycocotools, over groups of images and categories."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def average_precision(
    images: dict[str, tuple[int, int]],
    truth: list[dict],
    detections: list[dict],
    groups: dict[str, Sequence[str]],
    kind: str,
) -> dict[str, dict[str, float]]:
    """For each group of categories AP of detections against the truth, in percent, over those that the truth holds.

    images: {image_id: (height, width)} of all images that count; truth: rows with image_id, category, bbox (xywh),
    segmentation (RLE), area, iscrowd; detections: rows with image_id, category, score, bbox, segmentation; rows of other
    images or categories are passed over. kind: "bbox" or "segm". Where the truth holds none of a group's categories, -1.
    Categories are matched one by one, so all groups share one evaluation.
    """
    categories = sorted({name for names in groups.values() for name in names})
    image_number = {image_id: i for i, image_id in enumerate(sorted(images), start=1)}
    number = {name: i for i, name in enumerate(categories, start=1)}
    gt = COCO()
    gt.dataset = {
        "info": {},
        "images": [{"id": image_number[i], "height": images[i][0], "width": images[i][1]} for i in sorted(images)],
        "categories": [{"id": i, "name": name} for name, i in number.items()],
        "annotations": [
            {
                "id": i,
                "image_id": image_number[row["image_id"]],
                "category_id": number[row["category"]],
                "bbox": [float(v) for v in row["bbox"]],
                "segmentation": _rle(row["segmentation"]),
                "area": float(row["area"]),
                "iscrowd": int(row["iscrowd"]),
            }
            for i, row in enumerate(truth, start=1)
            if row["image_id"] in image_number and row["category"] in number
        ],
    }
    results = [
        {
            "image_id": image_number[row["image_id"]],
            "category_id": number[row["category"]],
            "score": float(row["score"]),
            "bbox": [float(v) for v in row["bbox"]],
            "segmentation": _rle(row["segmentation"]),
        }
        for row in detections
        if row["image_id"] in image_number and row["category"] in number
    ]
    held = {row["category"] for row in truth if row["image_id"] in image_number}
    if not gt.dataset["annotations"] or not results:
        return {
            group: dict.fromkeys(STATS, 0.0 if held.intersection(names) else -1.0) for group, names in groups.items()
        }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        if kind == "bbox":
            results = [{key: value for key, value in row.items() if key != "segmentation"} for row in results]
        evaluation = COCOeval(gt, gt.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        whole, scores = evaluation.eval, {}
        for group, names in groups.items():
            chosen = [number[name] - 1 for name in names]
            evaluation.eval = whole | {
                "precision": whole["precision"][:, :, chosen],
                "recall": whole["recall"][:, chosen],
            }
            evaluation.summarize()
            stats = np.asarray(evaluation.stats[: len(STATS)])
            scores[group] = {n: float(value * 100 if value >= 0 else -1.0) for n, value in zip(STATS, stats)}
    return scores


def _rle(segmentation: dict) -> dict:
    return {"size": [int(v) for v in segmentation["size"]], "counts": segmentation["counts"]}
