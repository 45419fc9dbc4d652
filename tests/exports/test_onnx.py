"""Detectors as ONNX files: what ONNX Runtime finds is what torch finds, for any size of image and any names."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from exports.onnx_model import write_onnx
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.detector.one_image import OneImageDetector
from structures.errors import UserError

THRESHOLDS = {"score_threshold": 0.001, "nms_iou": 0.5, "max_detections": 20}
NAMES = F.normalize(torch.randn(24, 16, generator=torch.Generator().manual_seed(1)), dim=1)
SIZES = {
    "as traced": (64, 85),
    "portrait": (96, 70),
    "landscape": (70, 120),
    "larger": (201, 313),
    "a strip": (60, 250),
    "tiny": (8, 5),
}


def session_of(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def found_by(session, image: torch.Tensor, text: torch.Tensor) -> dict[str, np.ndarray]:
    values = session.run(None, {"image": image.numpy(), "text": text.numpy()})
    return dict(zip(("boxes", "scores", "labels", "masks"), values))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, torch.Tensor], most: int) -> None:
    """Scores, boxes (as shares of the image) and names agree within 1e-3, masks by an IoU of 0.99; of detections whose scores
    are nearly equal either may come first, or be the last of the `most` that are kept."""
    expected = {name: value.numpy() for name, value in expected.items()}
    assert {name: value.dtype for name, value in found.items()} == {name: v.dtype for name, v in expected.items()}
    assert found["masks"].shape == expected["masks"].shape
    side = max(expected["masks"].shape[1:])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    for i, score in enumerate(expected["scores"]):
        alike = (
            (found["labels"] == expected["labels"][i])
            & (np.abs(found["scores"] - score) < 1e-3)
            & (np.abs(found["boxes"] - expected["boxes"][i]).max(1) < 1e-3 * side)
        )
        if alike.any():
            overlap = (found["masks"][alike] & expected["masks"][i]).sum((1, 2))
            union = (found["masks"][alike] | expected["masks"][i]).sum((1, 2))
            assert (overlap >= 0.99 * union).any() or is_between_pixels(expected["boxes"][i])
        else:
            assert len(expected["scores"]) == most and score < expected["scores"][-1] + 1e-5


def is_between_pixels(box: np.ndarray) -> bool:
    """Whether a box's last digits decide over which whole pixels torchvision stretches its mask of 28 (C4: 14) cells and a
    border."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    corners = np.array([centre + sign * half * (cells + 2) / cells for cells in (14, 28) for sign in (-1, 1)])
    return np.abs(corners - corners.round()).min() < 1e-3


def random_detector(backbone: str = "small", **settings) -> OpenVocabularyMaskRCNN:
    """Always the same, of random weights, whose boxes move, and whose masks are no plain of one half."""
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(backbone=backbone, dimension=16, min_size=64, max_size=96, **settings).eval()
    torch.nn.init.normal_(model.roi_heads.box_predictor.box.weight, std=0.001)
    torch.nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.2)
    model.rpn._pre_nms_top_n["testing"] = model.rpn._post_nms_top_n["testing"] = 60
    return model


class Exported:
    """A detector of random weights, its ONNX file, and the same run by torch."""

    def __init__(self, path, backbone: str = "small", **settings):
        self.path, self.torch = path, random_detector(backbone, **settings)
        network = OneImageDetector(random_detector(backbone, **settings), **THRESHOLDS)
        write_onnx(path, network, network.example(), {"detector": "train_detector", **THRESHOLDS})
        self.session = session_of(path)
        self.check(network.example()[0], NAMES)

    def check(self, image: torch.Tensor, text: torch.Tensor) -> int:
        """How many objects both find."""
        expected = self.torch.detect(image, {"all": text}, **THRESHOLDS)["all"]
        assert_same(found_by(self.session, image, text), expected, THRESHOLDS["max_detections"])
        return len(expected["scores"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("onnx") / "model.onnx")


def image_of(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("names", [1, 3, 24])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_it_finds_the_same_in_images_of_any_size_by_any_number_of_names(exported, size, names):
    assert exported.check(image_of(size), NAMES[:names]) > 4


def test_names_that_it_never_saw_are_asked_for_by_their_vectors(exported):
    other = F.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(9)), dim=1)
    assert exported.check(image_of((80, 100)), other)


def test_an_image_may_hold_nothing(exported):
    network = OneImageDetector(random_detector(), **(THRESHOLDS | {"score_threshold": 0.999}))
    path = exported.path.with_name("strict.onnx")
    write_onnx(path, network, network.example(), {})
    found = found_by(session_of(path), image_of((70, 110)), NAMES)
    assert {name: value.shape for name, value in found.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
        "masks": (0, 70, 110),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"prior": True},
        {"background": "rpn"},
        {"background": "zero", "similarity": "dot", "temperature": 1.0},
        {"backbone": "resnet50"},
        {"backbone": "resnet50_c4"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_backbone_and_head_can_leave(tmp_path, settings):
    model = Exported(tmp_path / "model.onnx", **settings)
    assert model.check(image_of((90, 70)), NAMES[:3]) > 4


def test_equal_detectors_give_equal_files_that_say_their_thresholds(exported, tmp_path):
    again = Exported(tmp_path / "again.onnx")
    assert again.path.read_bytes() == exported.path.read_bytes()
    properties = {k: json.loads(v) for k, v in exported.session.get_modelmeta().custom_metadata_map.items()}
    assert properties == {"detector": "train_detector", **THRESHOLDS}
    shapes = {value.name: value.shape for value in (*exported.session.get_inputs(), *exported.session.get_outputs())}
    assert shapes == {
        "image": [3, "height", "width"],
        "text": ["names", 16],
        "boxes": ["objects", 4],
        "scores": ["objects"],
        "labels": ["objects"],
        "masks": ["objects", "height", "width"],
    }


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"the package onnx is missing.*pip install onnx"):
        write_onnx(tmp_path / "model.onnx", torch.nn.Identity(), (), {})
    assert not list(tmp_path.iterdir())
