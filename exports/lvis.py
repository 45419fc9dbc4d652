"""LVIS' JSON (Gupta et al., 2019): COCO's, with lists of what each picture was and was not looked through for.

Captions leave things out, and a label is one object of what they name. So of a picture every category that its captions
name was looked for, but not exhaustively (not_exhaustive_category_ids); nothing is known to be absent
(neg_category_ids is empty); and every category in neither list was not looked for.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from exports.coco import annotation_entry, image_entry
from exports.json_stream import json_object
from exports.labelled import Labelled

KEEPS_PICTURES = False
_RARE, _COMMON = 10, 100  # images of a category at most, of LVIS' frequencies r, c and f


def write(folder: Path, data: Labelled, *, pictures: bool) -> None:
    """lvis.json: polygons, as LVIS has them."""
    numbers = data.category_numbers()
    instances, images = Counter(), Counter()
    for _, _, labels in data.numbered():
        instances.update(label["category"] for label in labels)
        images.update({label["category"] for label in labels})
    with json_object(folder / "lvis.json") as content:
        content.member("info", {"description": data.description})
        content.member("licenses", [])
        content.array("images", (_image(number, image, labels, numbers) for number, image, labels in data.numbered()))
        content.array("annotations", _annotations(data, numbers))
        content.member("categories", [_category(data, i, instances, images) for i in range(len(data.categories))])


def _image(number: int, image: dict, labels: list[dict], numbers: dict[str, int]) -> dict:
    looked_for = {numbers[label["category"]] for label in labels}
    looked_for |= {numbers[name] for name in image.get("named", ()) if name in numbers}
    federated = {"neg_category_ids": [], "not_exhaustive_category_ids": sorted(looked_for)}
    return image_entry(number, image) | {"coco_url": "", **federated}


def _annotations(data: Labelled, numbers: dict[str, int]) -> Iterator[dict]:
    count = 0
    for number, _, labels in data.numbered():
        for label in labels:
            count += 1
            entry = annotation_entry(count, number, numbers[label["category"]], label, True)
            del entry["iscrowd"]
            yield entry | {"score": float(label["confidence"])}


def _category(data: Labelled, place: int, instances: Counter, images: Counter) -> dict:
    category = data.categories[place]
    seen = images[category.name]
    return {
        "id": place + 1,
        "name": category.name,
        "supercategory": category.supercategory,
        "synset": "",
        "synonyms": [category.name, *category.synonyms],
        "def": "",
        "frequency": "r" if seen <= _RARE else "c" if seen <= _COMMON else "f",
        "image_count": seen,
        "instance_count": instances[category.name],
    }
