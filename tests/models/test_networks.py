"""WSPN, crop networks, the detector, pretraining losses and scores against closed forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask

from models.backbones import BackboneError, SmallBackbone, build_backbone
from models.coco_scores import average_precision
from models.crops import cut_crop, paste_mask
from models.detector import OpenVocabularyMaskRCNN
from models.label_scores import box_recall, iou, pointing_chance, points_at
from models.nouns import NounFinder
from models.selective_search import selective_search
from models.vlm_losses import contrast, draw_negatives, mask_tokens
from models.wspn import WSPN, classification_loss, proposal_weights, propose, pseudo_targets, regression_loss
from models.wss import frame_values, ranked_points, segment_crops, weight_count


def test_proposal_weights_by_hand():
    weights = proposal_weights(torch.tensor([[0.0, 0.0], [0.0, float(np.log(3.0))]]), torch.zeros(2, 2))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.25], [0.125, 0.375]]))
    loss = classification_loss(weights, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(-np.log(0.375) - np.log(1 - 0.625), rel=1e-5)


def test_low_scoring_boxes_are_drawn_to_the_best_that_they_overlap():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 60, 60], [50, 50, 59, 60], [80, 80, 90, 90.0]])
    weights = torch.tensor([[0.9, 0], [0.5, 0], [0.6, 0], [0.1, 0], [0.05, 0.9]])
    index = pseudo_targets(boxes, weights, torch.tensor([1.0, 0.0]), most=2, overlap=0.5)
    assert index.tolist() == [-1, 0, -1, 2, -1]
    assert regression_loss(boxes, torch.zeros(5, 4), index) > 0
    assert regression_loss(boxes, torch.zeros(5, 4), torch.full((5,), -1)) == 0


def test_proposals_stay_inside_and_come_best_first():
    torch.manual_seed(0)
    boxes = torch.tensor([[0, 0, 20, 20], [10, 10, 40, 40], [12, 11, 40, 41], [30, 0, 48, 30.0]])
    detection = torch.tensor([[0.0, 1], [3, 2], [1, 1], [2, 3]])
    kept, scores = propose(boxes, detection, torch.randn(4, 4), height=48, width=48, nms_iou=0.5, top_k=3)
    assert (kept >= 0).all() and (kept <= 48).all() and (scores.diff() <= 0).all() and len(kept) <= 3


def test_wspn_learns_where_a_named_object_is():
    torch.manual_seed(0)
    model = WSPN(backbone="small", classes=2, hidden=32, min_size=64, frozen=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    places = [torch.tensor([[x, y, x + 24, y + 24] for x in (0, 32) for y in (0, 32)], dtype=torch.float32)] * 4
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        where = torch.randint(4, (4,), generator=generator)
        which = torch.randint(2, (4,), generator=generator)
        images = []
        for w, c in zip(where.tolist(), which.tolist()):
            image = torch.rand(3, 64, 64, generator=generator) * 0.3
            x, y = places[0][w, :2].int().tolist()
            image[c, y : y + 24, x : x + 24] = 1
            images.append(image)
        outputs = model(images, places)
        labels = F.one_hot(which, 2).float()
        loss = sum(classification_loss(proposal_weights(c, d), label) for (c, d, _), label in zip(outputs, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = [proposal_weights(c, d)[:, k].argmax().item() for (c, d, _), k in zip(outputs, which)]
    assert found == where.tolist()


def crops(count, side=16):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(count, 3, side, side, generator=generator) * 0.2
    pictures[:, 0, 4:12, 4:12] += 0.7
    activation = torch.zeros(count, side, side)
    activation[:, 6:10, 6:10] = 1 + torch.rand(count, 4, 4, generator=generator)
    normal = torch.randn(count, weight_count(8), generator=generator)
    uniform = torch.rand(count, 2, 40, generator=generator)
    return pictures, activation, normal, uniform


OPTIONS = {"channels": 8, "steps": 60, "lr": 0.05, "foreground": 0.06, "background": "frame", "background_share": 0.3}


def test_crops_train_together_as_they_would_alone():
    together = segment_crops(*crops(6), **OPTIONS)
    for i in range(6):
        alone = segment_crops(*(part[i : i + 1] for part in crops(6)), **OPTIONS)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)
    pairs = torch.cat([segment_crops(*(part[i : i + 2] for part in crops(6)), **OPTIONS) for i in (0, 2, 4)])
    assert torch.equal(pairs, together)


def test_a_crop_network_fills_the_object_from_its_middle():
    masks = segment_crops(*crops(4), **OPTIONS).numpy() > 0.5
    truth = np.zeros((16, 16), bool)
    truth[4:12, 4:12] = True
    assert np.mean([iou(mask, truth) for mask in masks]) > 0.75  # the activation alone: 0.25


def test_points_come_from_the_asked_share():
    values = torch.arange(100.0).view(1, 100)
    points = ranked_points(values, 0.1, 50, torch.rand(1, 50))
    assert points.min() >= 90
    frame = frame_values(5, "cpu").view(5, 5)
    assert frame[0].tolist() == [0, 0, 0, 0, 0] and frame[2, 2] == -2


def test_a_crop_of_3_by_3_pixels_and_one_of_a_single_pixel():
    image, activation = np.zeros((20, 30, 3), np.uint8), np.ones((4, 4), np.float32)
    crop = cut_crop(image, activation, np.array([5, 5, 8, 8]), side=16, margin=0.2)
    assert crop.box == (5, 5, 8, 8) and crop.pixels.shape == (3, 16, 16)
    mask = paste_mask(np.ones((16, 16), np.float32), crop)
    assert mask["area"] == 9 and coco_mask.decode(mask["segmentation"])[5:8, 5:8].all()
    assert cut_crop(image, activation, np.array([5, 5, 6, 6]), side=16, margin=0) is None
    assert paste_mask(np.zeros((16, 16), np.float32), crop) is None


def test_a_box_touching_the_border_is_kept_inside():
    crop = cut_crop(
        np.zeros((20, 30, 3), np.uint8), np.ones((4, 4), np.float32), np.array([-4, 3.2, 40, 25]), side=8, margin=0.5
    )
    assert crop.box == (0, 3, 30, 20) and crop.window == (0, 0, 30, 20)


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96)


def test_class_probabilities_are_equation_8(detector):
    text = F.normalize(torch.randn(3, 6), dim=1)
    h = torch.randn(5, 6)
    background = F.normalize(detector.roi_heads.box_predictor.background, dim=0)
    unit = F.normalize(h, dim=1)
    tops = torch.exp(torch.stack([unit @ background, *(unit @ c for c in text)], 1) / 0.05)
    wanted = tops / tops.sum(1, keepdim=True)
    torch.testing.assert_close(detector.class_logits(h, text).softmax(1), wanted)


def test_the_detector_has_losses_gradients_and_detections(detector):
    text = F.normalize(torch.randn(3, 6), dim=1)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64)]
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    box = torch.tensor([[10.0, 10, 50, 40]])
    targets = [
        {"boxes": box, "labels": torch.tensor([2]), "masks": m}
        for m in (masks, masks[:, :, :64].repeat(1, 2, 1)[:, :72])
    ]
    losses = detector.train().losses(images, targets, text)
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    sum(losses.values()).backward()
    assert detector.roi_heads.box_predictor.background.grad.abs().sum() > 0
    found = detector.eval().detect(
        images[0], {"all": text, "some": text[:1]}, score_threshold=0.0, nms_iou=0.5, max_detections=7
    )
    for result, names in zip(found.values(), (3, 1)):
        assert len(result["boxes"]) <= 7 and result["masks"].shape[1:] == (64, 80)
        assert result["labels"].max() < names and (result["scores"].diff() <= 0).all()


def test_resnet50_is_taken_by_config():
    model = OpenVocabularyMaskRCNN(backbone="resnet50", dimension=6, min_size=64, max_size=96)
    with torch.no_grad():
        maps = model.backbone(torch.zeros(1, 3, 64, 64))
    assert [m.shape[-1] for m in maps.values()] == [16, 8, 4, 2, 1]
    with torch.no_grad():
        [(c, d, o)] = WSPN(backbone="resnet50", classes=3, hidden=16, min_size=64)(
            [torch.zeros(3, 64, 64)], [torch.tensor([[0, 0, 32, 32.0]])]
        )
    assert c.shape == d.shape == (1, 3) and o.shape == (1, 4)


def test_weights_of_another_network_are_refused():
    with pytest.raises(BackboneError, match="no resnet50 backbone"):
        build_backbone("resnet50", SmallBackbone().state_dict(), frozen=True)


def test_contrast_is_cross_entropy_where_every_caption_is_of_one_image():
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    logits, target = image @ text.t() / 0.1, torch.arange(4)
    wanted = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    torch.testing.assert_close(contrast(image, text, torch.tensor(0.1), torch.eye(4, dtype=torch.bool)), wanted)


def test_negatives_are_never_true_pairs():
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(16, 16, generator=generator) < 0.3
    allowed[3] = False
    for hardness in (0.0, 1.0):
        drawn = draw_negatives(torch.randn(16, 16, generator=generator), allowed, hardness, generator)
        rows = [i for i in range(16) if allowed[i].any()]
        assert allowed[rows, drawn[rows]].all() and drawn[3] == 4


def test_masked_tokens_are_as_many_and_of_the_kinds_that_bert_asks_for():
    ids = torch.randint(10, 50, (200, 50))
    chance = torch.full((200, 50), 0.2)
    chance[:, 0] = 0
    masked, labels = mask_tokens(ids, chance, 4, 50, torch.Generator().manual_seed(0))
    asked = labels >= 0
    assert not asked[:, 0].any() and asked[:, 1:].float().mean() == pytest.approx(0.2, abs=0.02)
    assert (masked[asked] == 4).float().mean() == pytest.approx(0.8, abs=0.03)
    assert torch.equal(masked[~asked], ids[~asked]) and torch.equal(labels[asked], ids[asked])


FINDER = NounFinder(
    {
        "bear": ("bear",),
        "dog": ("dog", "puppy"),
        "person": ("person", "man", "men", "people"),
        "bus": ("bus",),
        "mouse": ("mouse",),
        "keyboard": ("keyboard",),
        "scissors": ("scissors",),
        "knife": ("knife",),
    },
    ("hot dog", "teddy bear"),
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A man walks two small dogs.", [("person", "man", 1), ("dog", "dogs", 2)]),
        ("a hot dog beside a teddy bear and a bear", [("bear", "bear", 1)]),
        ("several buses", [("bus", "buses", 0)]),
        ("a mouse beside the keyboard", [("mouse", "mouse", 1), ("keyboard", "keyboard", 1)]),
        ("a pair of scissors and some knives", [("scissors", "scissors", 1), ("knife", "knives", 0)]),
        ("three men and 4 puppies", [("person", "men", 3), ("dog", "puppies", 4)]),
        ("the man's dog", [("person", "man", 1), ("dog", "dog", 1)]),
        ("busy boards, bearing doggedly", []),
        ("two hot dogs and mice", [("mouse", "mice", 0)]),
        ("", []),
    ],
)
def test_nouns_of_a_caption(text, wanted):
    found = FINDER.find(text)
    assert [(m.category, m.surface, m.count) for m in found] == wanted
    assert all(text[m.start : m.end] == m.surface for m in found)


def test_selective_search_is_repeatable_and_finds_a_square():
    image = np.full((80, 100, 3), 200, np.uint8)
    image[20:50, 30:70] = (200, 30, 30)
    options = {"mode": "fast", "min_side": 5, "max_boxes": 100, "seed": 3, "base_k": 150}
    boxes, scores = selective_search(image, **options)
    np.testing.assert_array_equal(boxes, selective_search(image, **options)[0])
    assert box_recall(boxes, [30, 20, 40, 30], 0.9) and (np.diff(scores) < 0).all()


def square(x, y, w, h, size=(40, 40)):
    mask = np.zeros(size, np.uint8)
    mask[y : y + h, x : x + w] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {
        "bbox": [x, y, w, h],
        "segmentation": {"size": list(size), "counts": rle["counts"].decode()},
        "area": w * h,
        "iscrowd": 0,
    }


def test_average_precision_of_a_case_known_by_hand():
    truth = [
        {"image_id": "a", "category": "cat", **square(0, 0, 20, 20)},
        {"image_id": "b", "category": "cat", **square(0, 0, 20, 20)},
    ]
    hit = {"image_id": "a", "category": "cat", "score": 0.9, **square(0, 0, 20, 20)}
    miss = {"image_id": "b", "category": "cat", "score": 0.95, **square(20, 20, 20, 20)}
    images = {"a": (40, 40), "b": (40, 40)}
    for kind in ("bbox", "segm"):
        assert average_precision(images, truth, [hit], ["cat"], kind)["AP50"] == pytest.approx(100 * 51 / 101)
        assert average_precision(images, truth, [hit, miss], ["cat"], kind)["AP50"] == pytest.approx(50 * 51 / 101)
        assert average_precision({"a": (40, 40)}, truth, [hit, miss], ["cat"], kind)["AP50"] == pytest.approx(100)
        assert average_precision(images, truth, [], ["cat"], kind)["AP50"] == 0
        assert average_precision(images, truth, [hit], ["dog"], kind)["AP50"] == -1


def test_pointing_by_hand():
    truth = np.zeros((40, 40), bool)
    truth[0:11, 0:10] = True
    grid = np.zeros((4, 4))
    grid[1, 0] = 1
    assert points_at(grid, truth) and pointing_chance((4, 4), truth) == 2 / 16
    grid[3, 3] = 2
    assert not points_at(grid, truth)
