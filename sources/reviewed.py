"""Decisions of people laid over labels: all of them, or none where one does not fit."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from sources.decisions import Decision
from structures.errors import UserError, one_line
from structures.label_ids import label_id
from structures.masks import box_of, decode, encode, read_segmentation

_MOST_TOLD = 20  # faults
Labels = Iterable[tuple[str, list[dict]]]  # (image_id, its rows of pseudo_masks or round_masks), sorted by image


class Review:
    """decisions: of a file; categories: the names that there are."""

    def __init__(self, decisions: list[Decision], categories: Collection[str]):
        self._categories = frozenset(categories)
        self._of_key, self._of_label, self._drawn = {}, {}, []
        self._faults: list[str] = []
        for decision in decisions:
            if decision.action == "add":
                self._drawn.append(decision)
                continue
            known, name = (self._of_key, decision.key) if decision.key else (self._of_label, decision.label)
            if name in known:
                self._fault(decision, f"a second decision about the label of {known[name].where}; keep one")
            known.setdefault(name, decision)
        self._drawn.sort(key=lambda decision: decision.image_id)

    @property
    def drawn_in(self) -> set[str]:
        """The images in which people drew labels of their own."""
        return {decision.image_id for decision in self._drawn}

    def check(self, labels: Labels, sizes: dict[str, tuple[int, int]]) -> None:
        """sizes: {image_id: (height, width)} of the training images among drawn_in.

        Raises UserError naming the row of each decision that does not fit: a label that is not there, or was made anew
        since (another run's, say), one that is decided twice, a mask of another size, a box outside the picture or one in
        which nothing of the mask is left, a category that is none.
        """
        found: set[int] = set()
        for _, rows in labels:
            for row in rows:
                decision = self._about(row)
                if decision is not None:
                    found.add(id(decision))
                    self._tried(decision, row)
        for decision in (*self._of_key.values(), *self._of_label.values()):
            if id(decision) not in found:
                self._fault(decision, _not_there(decision))
        for decision in self._drawn:
            size = sizes.get(decision.image_id)
            if size is None:
                self._fault(decision, f"image {decision.image_id!r} is no training image of this run")
            else:
                self._tried(decision, None, size)
        if self._faults:
            more = f"; and {len(self._faults) - _MOST_TOLD} more" if len(self._faults) > _MOST_TOLD else ""
            told = "; ".join(one_line(fault, 300) for fault in self._faults[:_MOST_TOLD])
            raise UserError(
                f"{len(self._faults)} decisions don't fit this run's labels, and none was applied: {told}{more}"
            )

    def apply(self, labels: Labels) -> Iterator[tuple[list[dict], list[tuple[dict, Decision]]]]:
        """(rows of reviewed_masks, (label that was dropped, decision) …) of every image that has any, sorted by key."""
        drawn = {image_id: list(group) for image_id, group in groupby(self._drawn, lambda row: row.image_id)}
        without_labels = sorted(drawn)
        for image_id, rows in labels:
            while without_labels and without_labels[0] <= image_id:
                first = without_labels.pop(0)
                if first < image_id:
                    yield self._image([], drawn[first])
            yield self._image(rows, drawn.get(image_id, []))
        for image_id in without_labels:
            yield self._image([], drawn[image_id])

    def _image(self, rows: list[dict], drawn: list[Decision]) -> tuple[list[dict], list[tuple[dict, Decision]]]:
        kept, dropped, moved = [], [], []
        for row in rows:
            decision = self._about(row)
            if decision is None:
                kept.append(row | {"decision": "", "decided_by": ""})
            elif decision.action == "drop":
                dropped.append((row, decision))
            else:
                changed = self._changed(decision, row)
                (kept if changed["category"] == row["category"] else moved).append(changed)
        taken: dict[str, int] = {}  # category: instances in use, of labels that were dropped as well
        for row in rows:
            taken[row["category"]] = max(taken.get(row["category"], 0), row["instance"] + 1)
        for row in [*moved, *(self._changed(decision, None) for decision in drawn)]:
            instance = taken.get(row["category"], 0)
            taken[row["category"]] = instance + 1
            kept.append(row | {"instance": instance})
        return sorted(kept, key=itemgetter("category", "instance")), dropped

    def _about(self, row: dict) -> Decision | None:
        """The decision about a label."""
        key = (row["image_id"], row["category"], int(row["instance"]))
        decision = self._of_key.get(key)
        if decision is None and self._of_label:
            return self._of_label.get(label_id(row))
        return decision

    def _tried(self, decision: Decision, row: dict | None, size: tuple[int, int] | None = None) -> None:
        try:
            if row is not None and decision.key and decision.label and decision.label != label_id(row):
                raise ValueError("the label was made anew since, or is another run's: decide about it again")
            if decision.action != "drop":
                self._changed(decision, row, size)
        except ValueError as error:
            self._fault(decision, str(error))

    def _changed(self, decision: Decision, row: dict | None, size: tuple[int, int] | None = None) -> dict:
        """A row of reviewed_masks, of a label or of what was drawn (then of an image of that size). Raises ValueError."""
        category = decision.category or row["category"]
        if category not in self._categories:
            raise ValueError(f"{category!r} is no category of this run")
        if row is None:
            height, width = size or decision.segmentation["size"]
            drawn = _outline(decision.segmentation, height, width)
            place = {"image_id": decision.image_id, "category": category, "instance": 0}
            made_by_nobody = {"score": 0.0, "rank": -1, "coverage": 0.0, "agreement": 0.0}
            return place | drawn | made_by_nobody | {"decision": "add", "decided_by": decision.by}
        height, width = (int(side) for side in row["segmentation"]["size"])
        what, change = "keep" if category == row["category"] else "category", {}
        if decision.segmentation is not None:
            drawn = _outline(decision.segmentation, height, width)
            if not np.array_equal(decode(drawn["segmentation"]), decode(row["segmentation"])):
                what, change = "mask", drawn
        elif decision.box is not None:
            what, change = "box", _cut(row["segmentation"], decision.box)
        return row | change | {"category": category, "decision": what, "decided_by": decision.by}

    def _fault(self, decision: Decision, what: str) -> None:
        self._faults.append(f"{decision.where}: {what}")


def _not_there(decision: Decision) -> str:
    if decision.key:
        image_id, category, instance = decision.key
        return f"there is no label {category!r} {instance} of image {image_id!r}"
    return f"there is no label {decision.label}: it was made anew since, or is another run's"


def _outline(segmentation: object, height: int, width: int) -> dict:
    """segmentation, area and box of a mask that a person drew. Raises ValueError."""
    rle = read_segmentation(segmentation, height, width)
    x, y, across, down = box_of(rle)
    if not across:
        raise ValueError("the mask has no pixel: drop the label instead")
    area = float(decode(rle).sum())
    return {"segmentation": rle, "area": area, "box": [x, y, x + across, y + down]}


def _cut(segmentation: dict, box: tuple[float, float, float, float]) -> dict:
    """The same of a mask cut to a box, which stays as it was drawn. Raises ValueError."""
    height, width = (int(side) for side in segmentation["size"])
    x0, y0, x1, y1 = box
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height and x1 - x0 >= 1 and y1 - y0 >= 1):
        raise ValueError(f"the box {list(box)} is none of a picture of {width} x {height} pixels")
    mask = decode(segmentation)
    inside = np.outer(
        *((np.arange(n) + 0.5 >= a) & (np.arange(n) + 0.5 <= b) for n, a, b in ((height, y0, y1), (width, x0, x1)))
    )
    mask &= inside
    if not mask.any():
        raise ValueError("nothing of the mask lies inside the box: correct the mask")
    return {"segmentation": encode(mask), "area": float(mask.sum()), "box": list(box)}
