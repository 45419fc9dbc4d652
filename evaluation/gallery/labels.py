"""What the gallery's index takes, made of rows of the tables: an image with all that is drawn on it, a row for each label,
each reject, each detection."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.gallery.index import Index
from evaluation.gallery.pictures import Small, number, packed
from evaluation.label_quality import best_iou
from structures.boxes import xywh_to_xyxy

KEPT, FOUND = "kept", "found"
EARLIER = "of an earlier round"
_MASK_MEASURES = ("score", "coverage", "agreement", "rank", "area", "similarity")  # as the tables name them
_OF_QUALITY = ("margin", "stability", "mirrored", "detector", "detector_iou")
_NO_NUMBERS = {
    "image_id",
    "category",
    "caption_id",
    "source",
    "detector",
    "vocabulary",
    "segmentation",
    "maps",
    "variance",
}
_OF_STUDENT = {"ovis": "ovis", "round": "ovis", "xpm": "xpm"}  # source here: source in the student's tables


def image_of_labels(index: Index, image: dict, rows: Mapping[str, list[dict]], small: Small, file: str) -> dict:
    """An image with its captions, proposals and true masks. rows: of this image, by table; file: where its picture lies."""
    captions: dict[str, dict] = {}
    for noun in sorted(rows["nouns"], key=lambda row: (row["caption_id"], row["start"])):
        caption = captions.setdefault(noun["caption_id"], {"text": noun["text"], "marks": []})
        ends = [_utf16(noun["text"][: noun[name]]) for name in ("start", "end")]
        caption["marks"].append([*ends, index.category(noun["category"])])
    proposals = [box for row in rows.get("wspn_proposals", []) for box in small.boxes(row["boxes"])]
    return _image(image, small, file) | {
        "captions": list(captions.values()),
        "proposals": proposals,
        "truth": _truth(index, rows["annotations"], small),
    }


def image_of_detections(
    index: Index, image: dict, truth: list[dict], detections: dict[str, list[dict]], small: Small, file: str
) -> dict:
    """An image with its true masks, and what each detector finds ({detector: rows of `detections`})."""
    found = {
        detector: [
            [index.category(row["category"]), number(row["score"]), small.counts(row["segmentation"])] for row in rows
        ]
        for detector, rows in detections.items()
    }
    return _image(image, small, file) | {"captions": [], "truth": _truth(index, truth, small), "found": found}


def _image(image: dict, small: Small, file: str) -> dict:
    height, width = small.shape
    size = {"height": height, "width": width, "size": [image["width"], image["height"]]}
    return {"id": image["image_id"], "path": image["path"], "split": image["split"], "file": file, **size}


def _truth(index: Index, annotations: list[dict], small: Small) -> list[list]:
    """[category, counts of its mask] of each true object that is outlined, crowds left out."""
    return [
        [index.category(row["category"]), small.counts(row["segmentation"])]
        for row in annotations
        if not row["iscrowd"] and row["segmentation"] and row["segmentation"]["size"] == [small.height, small.width]
    ]


def rows_of_image(
    index: Index,
    rows: Mapping[str, list[dict]],
    small: Small,
    *,
    sources: Mapping[str, str],
    rejected: Mapping[str, str],
    current: str,
) -> list[dict]:
    """The gallery's rows of a training image: its labels of each table ({table: source}), those that pseudo_labels left out
    with the reason, and its rejects that became no label ({stage: source}).

    rows: of this image, by table, in `rejects` all stages'; current: the source that pseudo_labels takes.
    """
    nouns = sorted(rows["nouns"], key=lambda row: (row["caption_id"], row["start"]))
    captions = list(dict.fromkeys(row["caption_id"] for row in nouns))
    caption_of = {row["category"]: captions.index(row["caption_id"]) for row in reversed(nouns)}
    maps = {row["category"]: row for row in rows.get("gradcam", [])}
    caption_of |= {
        name: captions.index(row["caption_id"]) for name, row in maps.items() if row["caption_id"] in captions
    }
    left_out = {row["key"]: row for row in rows["rejects"] if row["stage"] == "pseudo_labels"}
    of_label = {
        table: {(row["category"], row["instance"]): row for row in rows.get(table, [])}
        for table in ("label_quality", "kept_labels")
    }
    students = {_student_key(row): row for row in rows.get("student_labels", [])}
    noises = {_student_key(row): row for row in rows.get("label_noise", [])}
    made = []
    for table, source in sources.items():
        for label in sorted(rows.get(table, []), key=lambda row: (row["category"], row["instance"])):
            category, instance = label["category"], label["instance"]
            key = category, instance, _OF_STUDENT[source]
            reject = left_out.pop(f"{category} {instance}", None) if source == current else None
            measured = {name: found.get(key[:2]) for name, found in of_label.items()} if source == current else {}
            seen = {
                table: label,
                "gradcam": maps.get(category),
                **measured,
                "student_labels": students.get(key),
                "label_noise": noises.get(key),
            }
            state = EARLIER if source == "ovis" != current else KEPT
            made.append(
                {
                    "category": index.category(category),
                    "source": index.source(source, "labels"),
                    "state": f"{reject['stage']}: {reject['reason']}" if reject else state,
                    "instance": instance,
                    "caption": caption_of.get(category, -1),
                    "measures": _measures(seen, label, _true_masks(rows, category)),
                    "detail": _detail(seen, label, small) | ({"reject": _told(reject)} if reject else {}),
                }
            )
    others = [row for row in rows["rejects"] if row["stage"] != "pseudo_labels"] + list(left_out.values())
    return made + [reject_row(index, row, rejected, captions) for row in others]


def rows_of_detections(
    index: Index, truth: list[dict], judged: list[dict], detections: dict[str, list[dict]], small: Small
) -> list[dict]:
    """The gallery's rows of a validation image: one for each detection."""
    of_image = {"annotations": truth, "judged": judged}
    return [
        {
            "category": index.category(row["category"]),
            "source": index.source(detector, "detections"),
            "state": FOUND,
            "instance": row["rank"],
            "caption": -1,
            "measures": {"score": row["score"]} | _iou(row["segmentation"], _true_masks(of_image, row["category"])),
            "detail": {
                "box": small.boxes(xywh_to_xyxy(row["bbox"])),
                "counts": small.counts(row["segmentation"]),
                "numbers": {"detections": _numbers(row)},
            },
        }
        for detector, rows in detections.items()
        for row in rows
    ]


def reject_row(index: Index, reject: dict, rejected: Mapping[str, str], captions: list[str]) -> dict:
    """The gallery's row of a reject. captions: the ids of its image's, in order."""
    words = reject["key"].split(" ")
    names = (" ".join(words[:end]) for end in range(len(words), 0, -1))  # behind the category stand instance, source
    category = next((number for number in map(index.category, names) if number >= 0), -1)
    return {
        "category": category,
        "source": index.source(rejected[reject["stage"]], "rejects"),
        "state": f"{reject['stage']}: {reject['reason']}",
        "instance": 0,
        "caption": captions.index(reject["key"]) if reject["key"] in captions else -1,
        "measures": {},
        "detail": {"reject": _told(reject), "numbers": {}},
    }


def _told(reject: dict) -> dict:
    return {name: reject[name] for name in ("stage", "reason", "key", "detail")}


def _student_key(row: dict) -> tuple:
    return row["category"], row["instance"], row["source"]


def _true_masks(rows: Mapping[str, list[dict]], category: str) -> list[dict] | None:
    """The true masks of a category in an image; None where nobody says what is in the image, or whether this is, or where all
    of it is."""
    judged = {row["category"] for row in rows["judged"]}
    partial = any(row["category"] == category and not row["exhaustive"] for row in rows["judged"])
    masks = [row["segmentation"] for row in rows["annotations"] if row["category"] == category]
    if not rows["annotations"] or (judged and category not in judged) or partial or None in masks:
        return None
    return masks


def _iou(segmentation: dict, truth: list[dict] | None) -> dict[str, float]:
    if truth is None or any(mask["size"] != segmentation["size"] for mask in truth):
        return {}
    return {"iou": best_iou(segmentation, truth)}


def _measures(seen: Mapping[str, dict | None], label: dict, truth: list[dict] | None) -> dict[str, float]:
    """What a label is sorted by. seen: its rows, by table."""
    values = {name: label[name] for name in _MASK_MEASURES if name in label}
    if seen["gradcam"]:
        values["match"] = seen["gradcam"]["itm_logit"][0]
    if seen.get("label_quality"):
        values |= {name: seen["label_quality"][name] for name in _OF_QUALITY}
        if seen["label_quality"]["mirrored"] < 0:  # there was no mirror image
            del values["mirrored"]
    if seen.get("kept_labels"):
        values["confidence"] = seen["kept_labels"]["confidence"]
    if seen["student_labels"] and seen["student_labels"]["agreement"] >= 0:
        values["systems"] = seen["student_labels"]["agreement"]
    if seen["label_noise"]:
        values |= {name: seen["label_noise"][name] for name in ("alpha", "noise")}
    return values | _iou(label["segmentation"], truth)


def _detail(seen: Mapping[str, dict | None], label: dict, small: Small) -> dict[str, Any]:
    """What a label's pictures are drawn from, and all numbers of its rows."""
    detail: dict[str, Any] = {"box": small.boxes(label["box"]), "counts": small.counts(label["segmentation"])}
    if seen["gradcam"]:
        maps = seen["gradcam"]["maps"]
        detail["maps"] = {"shape": list(maps.shape), "cells": packed(maps)}
    if seen["label_noise"]:
        variance = seen["label_noise"]["variance"].astype(np.float32)
        low, high = float(variance.min()), float(variance.max())
        cells = packed((variance - low) / ((high - low) or 1.0))
        detail["noise"] = {"side": seen["label_noise"]["side"], "cells": cells, "range": [number(low), number(high)]}
    detail["numbers"] = {table: _numbers(row) for table, row in seen.items() if row}
    return detail


def _numbers(row: dict) -> dict[str, Any]:
    """The numbers and short texts of a table's row."""
    return {name: _plain(value) for name, value in row.items() if name not in _NO_NUMBERS}


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int):
        return value
    return [number(item) for item in value] if hasattr(value, "__len__") else number(value)


def _utf16(text: str) -> int:
    """How long a text is to JavaScript."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
