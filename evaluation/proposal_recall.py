"""How many objects of each category region proposals find (Mask-free OVIS, Fig. 2)."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from evaluation.label_quality import box_recall

FIRST = 50  # boxes of an image; OVIS keeps so many


def proposal_recall(images: Iterable[tuple[list[dict], np.ndarray]], group_of: Callable[[str], str]) -> Iterator[dict]:
    """protocol, group, metric, value: the share of objects that a box meets with an IoU of at least 0.5.

    images: of each its rows of `annotations`, of which crowds are passed over, and its boxes, N x 4 xyxy pixels, the best
    first; group_of: "base" or "novel" of a category. Metrics are recall50, of each image's first 50 boxes, and recall, of
    all. Of the protocol val_proposals the groups are base, novel and all, of val_proposals_base and val_proposals_novel
    they are categories. A value is the mean over objects; what has no object has none.
    """
    counts: dict[tuple[str, str, str], list[int]] = {}  # [objects that were found, objects]
    for annotations, boxes in images:
        for row in annotations:
            if row["iscrowd"]:
                continue
            group = group_of(row["category"])
            places = (("val_proposals", group), ("val_proposals", "all"), (f"val_proposals_{group}", row["category"]))
            for metric, considered in (("recall50", boxes[:FIRST]), ("recall", boxes)):
                hit = box_recall(considered, row["bbox"])
                for place in places:
                    count = counts.setdefault((*place, metric), [0, 0])
                    count[0] += hit
                    count[1] += 1
    for (protocol, group, metric), (found, objects) in sorted(counts.items()):
        yield {"protocol": protocol, "group": group, "metric": metric, "value": found / objects}
