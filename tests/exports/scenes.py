"""A few labelled pictures with everything that formats stumble over: holes, parts, odd names, no label at all."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from exports.labelled import Category, Labelled
from structures.label_ids import label_id
from structures.masks import box_of, encode

NAMES = ("cat", 'tie: "a, b"', "<b>Möwe</b>")
HEIGHT, WIDTH = 90, 120


def disc(x: float, y: float, radius: float, hole: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(columns - x, rows - y)
    return (distance <= radius) & (distance >= hole)


MASKS = {
    "a/images/<script>.png": [("cat", disc(40, 40, 30)), (NAMES[1], disc(40, 40, 30, hole=12))],
    "b.PNG": [(NAMES[2], disc(30, 30, 25) | disc(62, 30, 20, hole=5)), ("cat", disc(100, 80, 3))],
    "nothing.png": [],
}


def labelled(numbers: bool = False, **given) -> Labelled:
    """numbers: whether the images' ids are numbers."""
    entries = []
    for place, (path, masks) in enumerate(sorted(MASKS.items())):
        image_id = str(70 + place) if numbers else path
        image = {"image_id": image_id, "path": path, "width": WIDTH, "height": HEIGHT}
        image |= {"captions": ["two <cats> & a tie", "é"], "named": ["cat", NAMES[2]] if masks else []}
        labels = []
        for instance, (category, mask) in enumerate(masks):
            rle = encode(mask)
            row = {"image_id": image_id, "category": category, "instance": instance, "segmentation": rle}
            row |= {"area": float(mask.sum()), "bbox": box_of(rle), "confidence": (1 + instance) / 4, "decided_by": ""}
            labels.append(row | {"label": label_id(row)})
        entries.append((image, labels))
    categories = tuple(Category(name, "base", ("kitten",) if name == "cat" else ()) for name in NAMES)
    return Labelled("toy", categories, lambda: iter(entries), content=picture, **given)


def picture(image: dict) -> bytes:
    pixels = np.random.default_rng(len(image["path"])).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, "png")
        return stream.getvalue()


def lay_out(root: Path) -> None:
    """The data set's own folder."""
    for path in MASKS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture({"path": path}))


def masks_of(data: Labelled) -> list[np.ndarray]:
    """Every mask as it was drawn, in the order of the entries."""
    return [mask for image, _ in data.entries() for _, mask in MASKS[image["path"]]]
