"""COCO JSON, read by pycocotools, torchvision, supervision, and by the rules of FiftyOne's and Ultralytics' converters."""

import json
import tracemalloc

import numpy as np
import pytest
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from exports.coco import write, write_instances
from sources.coco import read_coco
from structures.masks import encode
from tests.exports.scenes import HEIGHT, NAMES, WIDTH, labelled, lay_out, masks_of

both = pytest.mark.parametrize("segmentation", ["rle", "polygons"])


def written(folder, segmentation="rle", **data):
    write(folder, labelled(**data), pictures=False, segmentation=segmentation)
    return folder / "instances.json"


@both
def test_pycocotools_reads_the_very_masks(tmp_path, segmentation):
    coco = COCO(str(written(tmp_path, segmentation)))
    masks = [coco.annToMask(annotation).astype(bool) for annotation in coco.loadAnns(sorted(coco.anns))]
    assert np.array_equal(masks, masks_of(labelled()))
    assert [coco.cats[i]["name"] for i in sorted(coco.cats)] == list(NAMES)


@both
def test_torchvision_pairs_pictures_with_their_labels(tmp_path, segmentation):
    lay_out(tmp_path)
    pairs = list(CocoDetection(str(tmp_path), str(written(tmp_path, segmentation))))
    assert [picture.size for picture, _ in pairs] == [(WIDTH, HEIGHT)] * 3
    assert [len(labels) for _, labels in pairs] == [2, 2, 0]


def test_supervision_reads_boxes_and_masks(tmp_path):
    supervision = pytest.importorskip("supervision")
    lay_out(tmp_path)
    data = supervision.DetectionDataset.from_coco(str(tmp_path), str(written(tmp_path, "rle")), force_masks=True)
    assert data.classes == list(NAMES)
    found = [mask for _, _, detections in data if len(detections) for mask in detections.mask]
    assert np.array_equal(found, masks_of(labelled()))


@both
def test_what_converters_ask_of_the_file_is_there(tmp_path, segmentation):
    content = json.loads(written(tmp_path, segmentation).read_text())
    for image in content["images"]:  # FiftyOne, Ultralytics: by integer ids, with sizes
        assert type(image["id"]) is int and image["original_id"] and image["height"] == HEIGHT
    for category in content["categories"]:
        assert type(category["id"]) is int and category["supercategory"] == "base"
    for annotation in content["annotations"]:
        assert type(annotation["id"]) is int and 0 <= annotation["score"] <= 1 and annotation["iscrowd"] == 0
        if segmentation == "polygons":  # Ultralytics: each at least three corners, inside the picture
            for polygon in annotation["segmentation"]:
                assert len(polygon) >= 6 and len(polygon) % 2 == 0
                assert min(polygon) >= 0 and max(polygon[::2]) <= WIDTH and max(polygon[1::2]) <= HEIGHT


def test_ids_that_are_numbers_stay_and_others_are_counted(tmp_path):
    images = json.loads(written(tmp_path, numbers=True).read_text())["images"]
    assert [(image["id"], image["original_id"]) for image in images] == [(70, "70"), (71, "71"), (72, "72")]
    images = json.loads(written(tmp_path).read_text())["images"]
    assert [image["id"] for image in images] == [1, 2, 3]
    assert [image["original_id"] for image in images] == ["a/images/<script>.png", "b.PNG", "nothing.png"]


def test_our_own_reader_finds_nothing_wrong(tmp_path):
    data = read_coco(tmp_path, ".", written(tmp_path).name)
    assert not data.faults and len(data.annotations) == 4


def test_a_mask_of_too_many_holes_stays_rle(tmp_path):
    data = labelled()
    [(image, [label, *_]), *_] = data.entries()
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[1:-1:3, 1:-1:3] = False
    many = label | {"segmentation": encode(mask)}
    data = type(data)("toy", data.categories, lambda: iter([(image, [many])]), data.content)
    write_instances(tmp_path / "x.json", data, polygons=True)
    coco = COCO(str(tmp_path / "x.json"))
    assert np.array_equal(coco.annToMask(coco.anns[1]).astype(bool), mask)


def test_no_label_at_all_is_a_whole_file(tmp_path):
    data = labelled()
    data = type(data)("toy", data.categories, lambda: iter(()), data.content)
    write_instances(tmp_path / "x.json", data)
    coco = COCO(str(tmp_path / "x.json"))
    assert not coco.anns and not coco.imgs


def test_memory_does_not_grow_with_the_data_set(tmp_path):
    data = labelled()
    [(image, labels), *_] = data.entries()

    def peak(count: int) -> int:
        many = type(data)("t", data.categories, lambda: ((image, labels) for _ in range(count)), data.content)
        tracemalloc.start()
        write_instances(tmp_path / "x.json", many)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(3000) < peak(30) + 100_000
