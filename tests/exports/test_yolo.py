"""YOLO segmentation by Ultralytics' rules, which supervision shares: corners as shares of the picture, filled by fillPoly."""

import csv

import cv2
import numpy as np
import pytest
import yaml

from exports.writers import write_format
from exports.yolo import write
from structures.masks import encode
from structures.polygons import centre_polygon
from tests.exports.scenes import HEIGHT, MASKS, NAMES, WIDTH, labelled, masks_of


def filled(line: str, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """As ultralytics.data.utils.polygon2mask fills it."""
    corners = np.array([float(value) for value in line.split()[1:]]).reshape(-1, 2) * (width, height)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.asarray(corners, np.int32)], 1)
    return canvas.astype(bool)


def iou(mask, other) -> float:
    return (mask & other).sum() / (mask | other).sum()


def lines_of(folder) -> list[str]:
    return [line for file in sorted((folder / "labels").iterdir()) for line in file.read_text().splitlines()]


def test_holes_and_parts_are_joined_into_one_polygon_a_line(tmp_path):
    write(tmp_path, labelled(), pictures=False, min_iou=0.95)
    lines = lines_of(tmp_path)
    assert [int(line.split()[0]) for line in lines] == [0, 1, 2, 0]
    overlaps = [iou(filled(line), mask) for line, mask in zip(lines, masks_of(labelled()))]
    assert overlaps[0] == overlaps[1] == overlaps[3] == 1, "one part, with a hole or without"
    assert overlaps[2] > 0.99, "two parts, joined by a line"
    with (tmp_path / "labels.csv").open(newline="") as stream:
        stated = [float(row["iou"]) for row in csv.DictReader(stream)]
    assert stated == pytest.approx(overlaps, abs=1e-4)


def test_at_a_trainers_size_the_polygons_still_hold_the_masks(tmp_path):
    write(tmp_path, labelled(), pictures=False, min_iou=0.95)
    for line, mask in zip(lines_of(tmp_path), masks_of(labelled())):
        large = cv2.resize(mask.astype(np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST).astype(bool)
        if mask.sum() > 32 * 32:
            assert iou(filled(line, 480, 640), large) > 0.93  # half a pixel of the picture all around


def test_a_large_mask_that_is_no_polygon_is_left_out_and_told(tmp_path):
    data, told = labelled(), []
    [(image, [label, *_]), *_] = data.entries()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:30, 2:26] = mask[60:85, 90:114] = True
    apart = label | {"segmentation": encode(mask), "area": float(mask.sum())}
    data = type(data)(
        "t", data.categories, lambda: iter([(image, [apart])]), data.content, lambda *all: told.append(all)
    )
    write(tmp_path, data, pictures=False, min_iou=0.95)
    assert lines_of(tmp_path) == [] and len(told) == 1 and "overlaps its mask by 0.9" in told[0][2]
    write(tmp_path, data, pictures=False, min_iou=0.0)
    assert len(lines_of(tmp_path)) == 1


def test_random_masks_of_one_part_are_exact_whatever_their_holes(tmp_path):
    rng = np.random.default_rng(5)
    for _ in range(30):
        noise = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2.5)
        _, parts = cv2.connectedComponents((noise > np.quantile(noise, 0.45)).astype(np.uint8))
        mask = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
        canvas = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(canvas, [centre_polygon(mask)], 1)
        assert iou(canvas.astype(bool), mask) > 0.999


def test_the_folder_is_what_ultralytics_looks_for(tmp_path):
    write_format("yolo", tmp_path, labelled(), pictures=True, min_iou=0.95)
    settings = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))
    assert settings["names"] == dict(enumerate(NAMES)), "whatever a name holds"
    images = sorted((tmp_path / settings["train"]).iterdir())
    assert len(images) == len(MASKS)
    for image in images:  # as ultralytics.data.utils.img2label_paths
        path = "/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        assert (tmp_path / "labels" / path.rsplit("/", 1)[1]).exists()
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["picture"] for row in csv.DictReader(stream)} == {path for path in MASKS if MASKS[path]}


def test_supervision_reads_the_folder(tmp_path):
    supervision = pytest.importorskip("supervision")
    write_format("yolo", tmp_path, labelled(), pictures=True, min_iou=0.95)
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True
    )
    assert data.classes == list(NAMES)
    found = [mask for _, _, detections in data if len(detections) for mask in detections.mask]
    for mask, drawn in zip(found, masks_of(labelled()), strict=True):
        assert drawn.sum() < 32 * 32 or iou(mask, drawn) >= 0.95
