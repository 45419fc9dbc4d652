"""How many objects of each category region proposals find (Mask-free OVIS, Fig. 2)."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from evaluation.label_quality import box_recall

FIRST = 50  # boxes of an image; OVIS keeps so many


def proposal_recall(
    annotations: Iterable[dict], boxes: Mapping[str, np.ndarray], group_of: Callable[[str], str]
) -> Iterator[dict]:
    """protocol, group, metric, value: the share of objects that a box meets with an IoU of at least 0.5.

    annotations: rows of the table, of which crowds are passed over; boxes: {image_id: N x 4 xyxy pixels, the best
    first}; group_of: "base" or "novel" of a category. Metrics are recall50, of each image's first 50 boxes, and recall,
    of all. Of the protocol val_proposals the groups are base, novel and all, of val_proposals_base and
    val_proposals_novel they are categories. A value is the mean over objects; what has no object has none.
    """
    none = np.zeros((0, 4), np.float32)
    found: dict[tuple[str, str, str], list[bool]] = {}
    for row in annotations:
        if row["iscrowd"]:
            continue
        of_image, group = boxes.get(row["image_id"], none), group_of(row["category"])
        places = (("val_proposals", group), ("val_proposals", "all"), (f"val_proposals_{group}", row["category"]))
        for metric, considered in (("recall50", of_image[:FIRST]), ("recall", of_image)):
            hit = box_recall(considered, row["bbox"])
            for place in places:
                found.setdefault((*place, metric), []).append(hit)
    for (protocol, group, metric), hits in sorted(found.items()):
        yield {"protocol": protocol, "group": group, "metric": metric, "value": float(np.mean(hits))}
