"""What Label Studio and CVAT get, by their documented rules."""

import dataclasses
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools.coco import COCO

from exports.writers import formats, write_format
from structures.errors import UserError
from tests.exports.scenes import HEIGHT, MASKS, NAMES, WIDTH, labelled, masks_of

URL = "/data/local-files/?d={path}"


def label_studios_decoder(rle: list[int]) -> np.ndarray:
    """The bytes of a brush, by the rules of label_studio_sdk.converter.brush.decode_rle, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < count:
        same = read(1)
        length = 1 + read(sizes[read(2)])
        out += [read(word)] * length if same else [read(word) for _ in range(length)]
    return np.array(out, np.uint8)


def test_label_studio_decodes_the_very_masks(tmp_path):
    write_format("label_studio", tmp_path, labelled(), pictures=False, shape="brush", picture_url=URL)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    masks = [label_studios_decoder(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] for region in regions]
    assert np.array_equal(np.array(masks) > 0, masks_of(labelled()))
    for region in regions:
        assert (region["original_width"], region["original_height"], region["type"]) == (WIDTH, HEIGHT, "brushlabels")
        assert region["value"]["format"] == "rle" and 0 <= region["score"] <= 1


def test_polygons_are_percent_of_the_picture(tmp_path):
    write_format("label_studio", tmp_path, labelled(), pictures=False, shape="polygons", picture_url=URL)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    first = tasks[0]["predictions"][0]["result"][0]["value"]["points"]
    assert np.min(first, 0) == pytest.approx((1000 / WIDTH, 1000 / HEIGHT))
    assert np.max(first, 0) == pytest.approx((7100 / WIDTH, 7100 / HEIGHT)), "70 is the last pixel, 71 its far edge"


def test_the_interface_offers_every_name_as_it_is(tmp_path):
    write_format("label_studio", tmp_path, labelled(), pictures=True, shape="brush", picture_url=URL)
    view = ElementTree.parse(tmp_path / "labeling_config.xml").getroot()
    for kind in ("BrushLabels", "PolygonLabels"):
        assert [label.get("value") for label in view.find(kind)] == list(NAMES)
    controls = {control.get("name") for control in view if control.get("toName") == "image"}
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    assert {region["from_name"] for region in regions} <= controls
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=images/000000000001.png"
    assert len(list((tmp_path / "images").iterdir())) == len(MASKS)


@pytest.mark.parametrize("name", ["yolo", "cvat", "label_studio"])
def test_copies_are_called_as_pictures_are_also_those_of_rows_of_parquet_files(tmp_path, name):
    """Ultralytics, say, takes files for pictures by their suffix, and passes over others without a word."""
    [(first, labels), *others] = labelled().entries()
    entries = [(first | {"path": "x/train-00000.parquet#000000017"}, labels), *others]
    data = dataclasses.replace(labelled(), entries=lambda: entries)
    own = {"yolo": {"min_iou": 0.5}, "cvat": {}, "label_studio": {"shape": "brush", "picture_url": "{path}"}}[name]
    write_format(name, tmp_path, data, pictures=True, **own)
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == [f"{i:012d}.png" for i in (1, 2, 3)]
    told = {"cvat": "instances_default.json", "label_studio": "tasks.json", "yolo": "labels.csv"}[name]
    assert "000000000001.png" in (tmp_path / told).read_text()

    inside = dataclasses.replace(data, is_packed=lambda image: "#" in image["path"])
    with pytest.raises(
        UserError, match=rf"{name} needs copies of the pictures, for x/train-00000.parquet#000000017 is"
    ):
        write_format(name, tmp_path, inside, pictures=False, **own)


def test_a_path_is_quoted_where_it_becomes_an_address(tmp_path):
    write_format("label_studio", tmp_path, labelled(), pictures=False, shape="brush", picture_url=URL)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=a/images/%3Cscript%3E.png"


def test_cvat_gets_coco_that_keeps_its_labels_ids_and_its_masks(tmp_path):
    write_format("cvat", tmp_path, labelled(), pictures=True)
    coco = COCO(str(tmp_path / "instances_default.json"))
    annotations = coco.loadAnns(sorted(coco.anns))
    assert np.array_equal([coco.annToMask(row).astype(bool) for row in annotations], masks_of(labelled()))
    expected = [label["label"] for _, labels in labelled().entries() for label in labels]
    assert [row["attributes"]["label"] for row in annotations] == expected
    assert {row["iscrowd"] for row in annotations} == {1}, "CVAT exports a crowd as RLE, all else as polygons"
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert [label["name"] for label in labels] == list(NAMES)
    assert {attribute["name"] for label in labels for attribute in label["attributes"]} == {"label", "is_crowd"}
    for image in coco.imgs.values():
        assert (tmp_path / "images" / image["file_name"]).exists()


def test_a_format_that_is_none_is_told(tmp_path):
    assert formats() == ["coco", "cvat", "huggingface", "label_studio", "lvis", "yolo"]
    with pytest.raises(UserError, match="wanted one of coco, cvat"):
        write_format("voc", tmp_path, labelled(), pictures=False)
