"""COCO's instances JSON (Lin et al., 2014): what pycocotools, torchvision, detectron2 and most trainers read."""

from collections.abc import Iterator
from pathlib import Path

from exports.json_stream import json_object
from exports.labelled import Labelled
from structures.masks import decode
from structures.polygons import edge_polygons

KEEPS_PICTURES = False  # file names are relative to the data set's folder


def write(folder: Path, data: Labelled, *, pictures: bool, segmentation: str) -> None:
    """instances.json. segmentation: "rle", or "polygons", which hold holes as cuts of no width; more than
    structures.polygons.MAX_HOLES holes stay RLE."""
    write_instances(folder / "instances.json", data, polygons=segmentation == "polygons")


def write_instances(path: Path, data: Labelled, *, polygons: bool = False) -> None:
    """One file, in the memory of a picture's labels. Beside COCO's keys: original_id of an image, where its own id is no
    number; score, label (its id) and decided_by (who looked at it, empty for nobody) of an annotation."""
    with json_object(path) as content:
        content.member("info", {"description": data.description})
        content.member("licenses", [])
        content.array("images", (image_entry(number, image) for number, image, _ in data.numbered()))
        content.array("annotations", _annotations(data, polygons))
        content.member("categories", categories(data))


def image_entry(number: int, image: dict) -> dict:
    size = {"width": int(image["width"]), "height": int(image["height"])}
    return {"id": number, "original_id": image["image_id"], "file_name": image["path"], **size}


def categories(data: Labelled) -> list[dict]:
    return [
        {"id": number, "name": category.name, "supercategory": category.supercategory}
        for number, category in enumerate(data.categories, start=1)
    ]


def _annotations(data: Labelled, polygons: bool) -> Iterator[dict]:
    numbers, count = data.category_numbers(), 0
    for number, _, labels in data.numbered():
        for label in labels:
            count += 1
            yield annotation_entry(count, number, numbers[label["category"]], label, polygons) | {
                "score": float(label["confidence"]),
                "label": label["label"],
                "decided_by": label["decided_by"],
            }


def annotation_entry(number: int, image: int, category: int, label: dict, polygons: bool) -> dict:
    """What COCO says of an object; polygons: in place of RLE, which a mask of too many holes keeps."""
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [float(side) for side in label["bbox"]],
        "segmentation": _polygons(label["segmentation"]) if polygons else _rle(label["segmentation"]),
        "area": float(label["area"]),
        "iscrowd": 0,
    }


def _rle(segmentation: dict) -> dict:
    return {"size": [int(side) for side in segmentation["size"]], "counts": segmentation["counts"]}


def _polygons(segmentation: dict) -> list[list[float]] | dict:
    try:
        polygons = [corners.ravel().tolist() for corners in edge_polygons(decode(segmentation))]
    except ValueError:  # too many holes
        polygons = []
    return polygons or _rle(segmentation)  # of a mask without a pixel, too
