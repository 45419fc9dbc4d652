"""Reader of data sets in COCO's format: pictures, instances_*.json and captions_*.json (Lin et al., 2014).

Yields plain rows of the tables `images` (without what only the pictures tell), `captions`, `annotations`, and faults.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pycocotools import mask as coco_mask

from sources.part import Fault, Part, SourceError


@dataclass
class CocoData:
    """images: {image_id: (path relative to root, width, height)}; captions: (image_id, caption_id, text);
    annotations: rows of the table; faults: (image_id, reason, detail, key)."""

    images: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    captions: list[tuple[str, str, str]] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    faults: list[tuple[str, str, str, str]] = field(default_factory=list)


def _load(path: Path, keys: tuple[str, ...]) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(
            f"{path}: {error.strerror}; set the ingest section of the config to the data set's files"
        ) from error
    except ValueError as error:
        raise SourceError(f"{path} is no JSON ({error}); fetch it again") from error
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise SourceError(f"{path} has no list {', '.join(missing)}: is it a COCO file of that kind?")
    return content


def encode_segmentation(segmentation, height: int, width: int) -> dict:
    """Polygons, uncompressed or compressed RLE as {"size": [height, width], "counts": str}. Raises ValueError."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            raise ValueError("no polygon of three points")
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str):
        rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode("ascii")}
    else:
        raise ValueError("neither polygons nor RLE")
    if list(rle["size"]) != [height, width]:
        raise ValueError(f"a mask of {rle['size']} in an image of {[height, width]}")
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def read_coco(root: Path, images: str, instances: str = "", captions: str = "") -> CocoData:
    """One part of a COCO data set, such as train2017.

    root: the data set's folder; images: its folder of pictures; instances, captions: JSON files, "" for none (one of
    the two is needed, for the list of pictures). A caption or annotation of an absent image, an empty caption, and an
    annotation that can't be a mask become faults. Raises SourceError.
    """
    data = CocoData()
    files = {}
    if instances:
        files["instances"] = _load(root / instances, ("images", "annotations", "categories"))
    if captions:
        files["captions"] = _load(root / captions, ("images", "annotations"))
    if not files:
        raise SourceError(f"{root / images}: neither instances nor captions are set for this folder")
    for name, content in files.items():
        try:
            for image in content["images"]:
                path = str(PurePosixPath(images) / image["file_name"])
                data.images[str(image["id"])] = (path, int(image["width"]), int(image["height"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{root / {'instances': instances, 'captions': captions}[name]}: an image lacks {error}"
            ) from error
    for row in files.get("captions", {}).get("annotations", []):
        image_id, caption_id, text = str(row.get("image_id")), str(row.get("id")), str(row.get("caption") or "").strip()
        if image_id not in data.images:
            detail = f"caption {caption_id} is of an image not listed"
            data.faults.append((image_id, "absent_image", detail, caption_id))
        elif not text:
            data.faults.append((image_id, "empty_caption", f"caption {caption_id} has no words", caption_id))
        else:
            data.captions.append((image_id, caption_id, text))
    if instances:
        _read_annotations(files["instances"], data)
    return data


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images, part.instances, part.captions as read_coco takes them. Raises SourceError."""
    data = read_coco(root, part.images, part.instances, part.captions)
    counts: dict[str, int] = {}
    for row in data.annotations:
        if not row["iscrowd"]:
            counts[row["category"]] = counts.get(row["category"], 0) + 1
    captions = [dict(zip(("image_id", "caption_id", "text"), row)) for row in data.captions]
    faults = [Fault(*fault) for fault in data.faults]
    return Part(data.images, captions, None, lambda size_of: data.annotations, faults, counts)


def _read_annotations(content: dict, data: CocoData) -> None:
    names = {category["id"]: category["name"] for category in content["categories"]}
    for row in content["annotations"]:
        image_id, annotation_id = str(row.get("image_id")), str(row.get("id"))
        if image_id not in data.images:
            detail = f"annotation {annotation_id} is of an image not listed"
            data.faults.append((image_id, "absent_image", detail, annotation_id))
            continue
        _, width, height = data.images[image_id]
        try:
            segmentation = encode_segmentation(row["segmentation"], height, width)
            data.annotations.append(
                {
                    "image_id": image_id,
                    "annotation_id": annotation_id,
                    "category": names[row["category_id"]],
                    "bbox": [float(v) for v in row["bbox"]],
                    "segmentation": segmentation,
                    "area": float(row["area"]),
                    "iscrowd": bool(row.get("iscrowd", 0)),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            detail = f"annotation {annotation_id}: {error!r}"
            data.faults.append((image_id, "bad_annotation", detail, annotation_id))


def instances_json(
    images: list[dict],
    masks: list[dict],
    categories: tuple[str, ...],
    description: str = "pseudo-labels: made without any drawn mask",
) -> dict:
    """Masks as the content of an instances_*.json that pycocotools loads and read_coco reads back.

    images: rows of the table; masks: rows with image_id, category, segmentation, area, score; categories: names, whose
    ids count from 1. File names are relative to the data set's folder, so the folder of images is "." to read_coco. Ids
    that are numbers stay the numbers they were.
    """
    ids = {name: i for i, name in enumerate(categories, start=1)}
    return {
        "info": {"description": description},
        "images": [
            {
                "id": _number(row["image_id"]),
                "file_name": row["path"],
                "width": row["width"],
                "height": row["height"],
            }
            for row in images
        ],
        "annotations": [
            {
                "id": i,
                "image_id": _number(row["image_id"]),
                "category_id": ids[row["category"]],
                "bbox": [float(v) for v in coco_mask.toBbox(row["segmentation"])],
                "segmentation": row["segmentation"],
                "area": float(row["area"]),
                "iscrowd": 0,
                "score": float(row["score"]),
            }
            for i, row in enumerate(masks, start=1)
        ],
        "categories": [{"id": i, "name": name} for name, i in ids.items()],
    }


def _number(image_id: str) -> int | str:
    return int(image_id) if image_id.isdecimal() and str(int(image_id)) == image_id else image_id
