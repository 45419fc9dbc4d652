"""Label Studio's tasks: each a picture, its labels as predictions that a person accepts, mends or deletes.

A task's data name its picture (image_id) and the labels that were handed out. Import tasks.json into a project whose labelling interface is labeling_config.xml. What the project exports (JSON) is read
back by the stage review.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from exports.json_stream import json_array
from exports.labelled import Labelled
from structures.brush import encode_brush
from structures.masks import decode
from structures.polygons import edge_polygons

KEEPS_PICTURES = True
CONTROLS = {"brush": ("BrushLabels", "brushlabels"), "polygons": ("PolygonLabels", "polygonlabels")}


def write(folder: Path, data: Labelled, *, pictures: bool, shape: str, picture_url: str) -> None:
    """tasks.json and labeling_config.xml. shape: "brush" (exact), or "polygons", one region a part.

    picture_url: where Label Studio finds the pictures, {path} for the path below images/ or, without pictures, below the
    data set's folder.
    """
    json_array(folder / "tasks.json", _tasks(data, pictures, shape, picture_url))
    (folder / "labeling_config.xml").write_text(_interface(data), encoding="utf-8", newline="\n")


def _tasks(data: Labelled, pictures: bool, shape: str, url: str) -> Iterator[dict]:
    for number, image, labels in data.numbered():
        path = f"images/{data.picture_name(number, image)}" if pictures else image["path"]
        regions = [region for label in labels for region in _regions(image, label, shape)]
        scores = [float(label["confidence"]) for label in labels]
        yield {
            "data": {
                "image": url.replace("{path}", quote(path)),
                "image_id": image["image_id"],
                "caption": " / ".join(image.get("captions", ())),
                "labels": [label["label"] for label in labels],
            },
            "predictions": [
                {"model_version": data.name, "score": min(scores, default=0.0), "result": regions},
            ],
        }


def _regions(image: dict, label: dict, shape: str) -> Iterator[dict]:
    """The regions of a label: its id is the label's, with a number behind it where there are several."""
    kind = CONTROLS[shape][1]
    width, height = int(image["width"]), int(image["height"])
    common = {
        "type": kind,
        "from_name": "label" if shape == "brush" else "outline",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": float(label["confidence"]),
    }
    mask = decode(label["segmentation"])
    if shape == "brush":
        value = {"format": "rle", "rle": encode_brush(mask), kind: [label["category"]]}
        yield {"id": label["label"], **common, "value": value}
        return
    for place, corners in enumerate(edge_polygons(mask)):
        points = [[100 * x / width, 100 * y / height] for x, y in corners.tolist()]
        value = {"points": points, "closed": True, kind: [label["category"]]}
        yield {"id": f"{label['label']}.{place}", **common, "value": value}


def _interface(data: Labelled) -> str:
    names = "".join(f"\n    <Label value={quoteattr(category.name)}/>" for category in data.categories)
    return (
        "<View>\n"
        '  <Text name="caption" value="$caption"/>\n'
        '  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="label" toName="image">{names}\n  </BrushLabels>\n'
        f'  <PolygonLabels name="outline" toName="image">{names}\n  </PolygonLabels>\n'
        f'  <RectangleLabels name="box" toName="image">{names}\n  </RectangleLabels>\n'
        "</View>\n"
    )
