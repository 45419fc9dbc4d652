"""CVAT's "COCO 1.0": the form of COCO's JSON that CVAT imports into a task, and exports again.

Each annotation carries its label's id in `attributes`, which CVAT keeps where the task's labels declare it (labels.json,
for the constructor's tab Raw). Masks are RLE and marked as CVAT's is_crowd, which makes CVAT export them as RLE again,
exactly, and not as polygons.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from exports.coco import annotation_entry, categories, image_entry
from exports.json_stream import json_object
from exports.labelled import Labelled

KEEPS_PICTURES = True


def write(folder: Path, data: Labelled, *, pictures: bool) -> None:
    """instances_default.json, to upload as annotations in the format COCO 1.0, and labels.json."""
    with json_object(folder / "instances_default.json") as content:
        content.member("info", {"description": data.description})
        content.member("licenses", [])
        content.array("images", (_image(data, number, image, pictures) for number, image, _ in data.numbered()))
        content.array("annotations", _annotations(data))
        content.member("categories", categories(data))
    attributes = [
        {"name": "label", "mutable": False, "input_type": "text", "default_value": "", "values": [""]},
        {"name": "is_crowd", "mutable": False, "input_type": "checkbox", "default_value": "true", "values": ["true"]},
    ]
    labels = [{"name": category.name, "attributes": attributes} for category in data.categories]
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", encoding="ascii", newline="\n")


def _image(data: Labelled, number: int, image: dict, pictures: bool) -> dict:
    entry = image_entry(number, image)
    return entry | {"file_name": data.picture_name(number, image)} if pictures else entry


def _annotations(data: Labelled) -> Iterator[dict]:
    numbers, count = data.category_numbers(), 0
    for number, _, labels in data.numbered():
        for label in labels:
            count += 1
            entry = annotation_entry(count, number, numbers[label["category"]], label, False)
            attributes = {"label": label["label"], "score": float(label["confidence"])}
            yield entry | {"iscrowd": 1, "attributes": attributes}
