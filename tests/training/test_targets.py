"""What detectors learn from, out of rows of tables."""

import cv2
import numpy as np
import pytest
import torch

from store.blobs import file_digest
from structures.masks import encode
from training.targets import detection_batches, detection_target, label_numbers, mirror_at_random

CATEGORIES = ["cat", "dog", "kite"]
HEIGHT, WIDTH = 24, 40


def annotation(category, x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + h, x : x + w] = True
    return {"category": category, "bbox": [x, y, w, h], "segmentation": encode(mask)}


def pseudo_label(category, x, y, w, h, weight):
    row = annotation(category, x, y, w, h)
    return {
        "category": category,
        "box": np.array([x, y, x + w, y + h], np.float32),
        "segmentation": row["segmentation"],
        "weight": weight,
    }


PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DOG, KITE = annotation("dog", 4, 2, 10, 12), pseudo_label("kite", 20, 6, 8, 9, 0.5)


def test_a_target_has_boxes_in_corners_labels_from_one_on_and_masks():
    image, target = detection_target(PICTURE, [DOG], label_numbers(CATEGORIES))
    assert image.dtype == torch.uint8 and torch.equal(image, torch.from_numpy(PICTURE).permute(2, 0, 1))
    assert target.keys() == {"boxes", "labels", "masks"}
    assert target["boxes"].tolist() == [[4, 2, 14, 14]] and target["labels"].tolist() == [2]
    assert (
        target["masks"].dtype == torch.uint8 and target["masks"].sum() == 120 and target["masks"][0, 2:14, 4:14].all()
    )


@pytest.mark.parametrize("annotations", [[DOG], []])
def test_pseudo_labels_come_after_the_annotations_and_bring_their_weight(annotations):
    _, target = detection_target(PICTURE, annotations, label_numbers(CATEGORIES), [KITE])
    count = len(annotations)
    assert target["labels"].tolist() == [2] * count + [3] and target["boxes"][-1].tolist() == [20, 6, 28, 15]
    assert target["pseudo"].tolist() == [False] * count + [True]
    assert target["weight"].tolist() == [1.0] * count + [0.5] and target["weight"].dtype == torch.float32
    assert target["annotated"].item() == bool(annotations)


def test_an_annotation_with_a_box_alone_has_an_empty_mask_and_says_so():
    alone = annotation("cat", 1, 1, 5, 5) | {"segmentation": None}
    _, target = detection_target(PICTURE, [DOG, alone], label_numbers(CATEGORIES), [KITE])
    assert target["outlined"].tolist() == [True, False, True] and target["boxes"][1].tolist() == [1, 1, 6, 6]
    assert target["masks"].shape == (3, HEIGHT, WIDTH) and target["masks"].sum((1, 2)).tolist() == [120, 0, 72]
    _, mirrored = mirror_at_random(torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), target)
    assert mirrored["outlined"].tolist() == [True, False, True]


def test_mirroring_exchanges_left_and_right_of_pictures_boxes_and_masks_by_one_random_number():
    image, target = detection_target(PICTURE, [DOG], label_numbers(CATEGORIES), [KITE])
    mirrored = 0
    for seed in range(20):
        torch.manual_seed(seed)
        other, result = mirror_at_random(image, target)
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        flip = torch.rand(()) < 0.5
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(other, image.flip(-1) if flip else image)
        assert torch.equal(result["masks"], target["masks"].flip(-1) if flip else target["masks"])
        x0, y0, x1, y1 = target["boxes"].unbind(1)
        expected = torch.stack([WIDTH - x1, y0, WIDTH - x0, y1], 1) if flip else target["boxes"]
        assert torch.equal(result["boxes"], expected)
        assert all(type(value) is torch.Tensor for value in (other, *result.values()))
        assert all(torch.equal(result[key], target[key]) for key in ("labels", "pseudo", "weight", "annotated"))
        mirrored += bool(flip)
    assert 0 < mirrored < 20


@pytest.mark.parametrize("pseudo", [False, True])
def test_batches_hold_the_pictures_with_and_without_pseudo_labels(tmp_path, pseudo):
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        cv2.imwrite(str(file), np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8))
    images = [{"path": file.name, "sha256": file_digest(file)} for file in files]
    data = [([image], [DOG], *([[KITE]] if pseudo else [])) for image in images]
    batches = detection_batches(tmp_path, data, CATEGORIES, batch=4, seed=1, workers=0, accumulate=2)
    parts = [batches(0), batches(0)]
    assert [len(part) for part in parts] == [2, 2]
    assert all(picture.dtype == torch.uint8 for part in parts for picture, _ in part), "what travels to a GPU is small"
    shades = sorted(int(picture.float().mean()) for part in parts for picture, _ in part)
    assert shades == [0, 40, 80, 120]
    assert all(("weight" in target) == pseudo for part in parts for _, target in part)
