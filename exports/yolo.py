"""YOLO segmentation, as Ultralytics reads it: a text file a picture, a line an object, one polygon without holes.

So holes are cut open, and parts are joined by lines, which fillPoly paints. labels.csv states how much of each mask is
left: its overlap (IoU) with what fillPoly makes of the line.
"""

import csv
from pathlib import Path

import cv2
import numpy as np
import yaml

from exports.labelled import Labelled
from structures.masks import decode
from structures.polygons import centre_polygon

KEEPS_PICTURES = True
_LARGE = 32 * 32  # pixels of a mask from which on min_iou holds


def write(folder: Path, data: Labelled, *, pictures: bool, min_iou: float) -> None:
    """labels/NUMBER.txt, data.yaml, and labels.csv: every label with its picture, its line and its overlap.

    min_iou: a mask of more than 32 x 32 pixels whose polygon overlaps it less is left out (two parts far from each other,
    say).
    """
    (folder / "labels").mkdir(exist_ok=True)
    numbers = data.category_numbers()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", "picture", "label", "category", "score", "iou", "written"])
        for number, image, labels in data.numbered():
            name = Path(data.picture_name(number, image))
            lines = []
            for label in labels:
                mask = decode(label["segmentation"])
                if not mask.any():
                    data.left_out(image, label, "its mask has no pixel")
                    continue
                polygon = centre_polygon(mask)
                iou = filled_iou(polygon, mask)
                written = iou >= min_iou or mask.sum() <= _LARGE
                if written:
                    lines.append(_line(numbers[label["category"]] - 1, polygon, mask.shape))
                else:
                    data.left_out(image, label, f"as one polygon it overlaps its mask by {iou:.2f}")
                score = f"{label['confidence']:.6f}"
                row = [name, image["path"], label["label"], label["category"], score, f"{iou:.4f}", int(written)]
                table.writerow(row)
            text = "".join(f"{line}\n" for line in lines)
            (folder / "labels" / f"{name.stem}.txt").write_text(text, encoding="ascii", newline="\n")
    names = {place: category.name for place, category in enumerate(data.categories)}
    comment = f"# {data.description}; no validation picture is labelled: point val at yours\n"
    settings = yaml.safe_dump({"train": "images", "val": "images", "names": names}, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(comment + settings, encoding="utf-8", newline="\n")


def filled_iou(polygon: np.ndarray, mask: np.ndarray) -> float:
    """The overlap of a polygon, filled by OpenCV, with a mask."""
    canvas = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(canvas, [polygon], 1)
    filled = canvas.astype(bool)
    return float((filled & mask).sum() / (filled | mask).sum())


def _line(category: int, polygon: np.ndarray, shape: tuple[int, int]) -> str:
    """The category, and the corners as shares of width and height: a quarter of a pixel behind a pixel's edge, so that who
    rounds and who cuts off finds that pixel."""
    shares = (polygon + 0.25) / (shape[1], shape[0])
    return " ".join([str(category), *(f"{value:.6g}" for value in shares.ravel().tolist())])
