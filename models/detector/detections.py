"""From class logits of regions to detections, and from detections to COCO's boxes and run-length masks."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor
from torchvision.ops import batched_nms, remove_small_boxes

from structures.masks import encode


def best_regions(
    logits: Tensor, boxes: Tensor, *, score_threshold: float, nms_iou: float, max_detections: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [n], labels [n] (index into the categories) and region indices [n] of the detections of one image, best
    first.

    logits: [regions, 1 + categories], the background first; boxes: [regions, 4] xyxy, in pixels of the batch;
    score_threshold: weaker detections are dropped; nms_iou: of two of a category that overlap more the weaker is
    dropped.
    """
    probabilities = logits.softmax(1)[:, 1:]
    region, label = (probabilities > score_threshold).nonzero(as_tuple=True)
    score = probabilities[region, label]
    large = remove_small_boxes(boxes[region], 1.0)
    region, label, score = region[large], label[large], score[large]
    strongest = batched_nms(boxes[region], score, label, nms_iou)[:max_detections]
    return score[strongest], label[strongest], region[strongest]


def detection_rows(detections: dict[str, Tensor], categories: Sequence[str]) -> Iterator[dict]:
    """category, score, bbox (xywh pixels) and segmentation (COCO RLE) of each detection in one picture, best first.

    detections: boxes [n, 4] xyxy, labels [n] (index into categories), scores [n], masks [n, h, w] bool, as
    OpenVocabularyMaskRCNN.detect gives them.
    """
    masks = detections["masks"].cpu().numpy().astype(np.uint8)
    for label, score, (x0, y0, x1, y1), mask in zip(
        detections["labels"].tolist(), detections["scores"].tolist(), detections["boxes"].tolist(), masks
    ):
        yield {
            "category": categories[label],
            "score": score,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": encode(mask),
        }
