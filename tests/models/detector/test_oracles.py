"""Losses, targets and detections against torchvision's own Mask R-CNN of the same weights, and against the formulas of
detectron2 and maskrcnn-benchmark written out in NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN

SIZES = {"min_size": 96, "max_size": 160}
BETA = 1 / 9  # of the smooth L1 loss, torchvision's of RPN and box head
DELTAS = {"rpn": (1, 1, 1, 1), "box_head": (10, 10, 5, 5)}


def pictures_and_targets():
    """Two pictures of different size; two objects and one."""
    generator = torch.Generator().manual_seed(3)
    boxes = [[[10.0, 12, 60, 70], [50, 20, 118, 60]], [[8.0, 30, 70, 84]]]
    images, targets = [], []
    for (height, width), rects in zip(((96, 120), (90, 100)), boxes):
        masks = torch.zeros(len(rects), height, width, dtype=torch.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, rects):
            mask[int(y0) : int(y1), int(x0) : int((x0 + x1) / 2)] = 1
        images.append(torch.rand(3, height, width, generator=generator))
        labels = torch.tensor([2, 3][: len(rects)])
        targets.append({"boxes": torch.tensor(rects), "labels": labels, "masks": masks})
    return images, targets


def smooth_l1(difference: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    return np.where(size < BETA, 0.5 * size**2 / BETA, size - 0.5 * BETA)


def bce(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits) - targets * logits


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[n, m] of xyxy boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), -1)
    area, other_area = (np.prod(b[:, 2:] - b[:, :2], -1) for b in (boxes, others))
    return both / (area[:, None] + other_area[None] - both)


def deltas(boxes: np.ndarray, goals: np.ndarray, weights: tuple) -> np.ndarray:
    """What moves boxes to goals (Girshick et al., 2014, Appendix C), times the weights."""
    size, goal_size = boxes[:, 2:] - boxes[:, :2], goals[:, 2:] - goals[:, :2]
    centre, goal_centre = boxes[:, :2] + size / 2, goals[:, :2] + goal_size / 2
    return np.concatenate([(goal_centre - centre) / size, np.log(goal_size / size)], 1) * weights


def roi_align(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The means of bilinear samples of a mask in side x side bins of a box; pixel (0, 0) is sampled at (0, 0)."""
    height, width = mask.shape

    def sampled(start, end, length):
        count = int(np.ceil((end - start) / side))
        return (start + (np.arange(side * count) + 0.5) * max(end - start, 1) / (side * count)).clip(
            0, length - 1
        ), count

    (xs, across), (ys, down) = sampled(box[0], box[2], width), sampled(box[1], box[3], height)
    x0, y0 = np.floor(xs).astype(int), np.floor(ys).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = xs - x0, (ys - y0)[:, None]
    top = mask[y0][:, x0] * (1 - fx) + mask[y0][:, x1] * fx
    bottom = mask[y1][:, x0] * (1 - fx) + mask[y1][:, x1] * fx
    samples = top * (1 - fy) + bottom * fy
    return samples.reshape(side, down, side, across).mean((1, 3))


@pytest.fixture(scope="module")
def seen():
    """What a training step of the detector looked at, NumPy arrays in float64, and its losses."""
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(backbone="small", dimension=6, frozen=False, background_weight=0.2, **SIZES).train()
    model.set_vocabulary(F.normalize(torch.randn(4, 6), dim=1))
    for layer in (model.rpn.head.bbox_pred, model.roi_heads.box_predictor.box):
        torch.nn.init.normal_(layer.weight, std=0.05)  # larger than a random start: both parts of the smooth L1
    seen = SimpleNamespace()

    def keep(owner, name, take):
        method = getattr(owner, name)

        def kept(*args, **kwargs):
            result = method(*args, **kwargs)
            take(args, result)
            return result

        setattr(owner, name, kept)

    def of_rpn(args, result):
        seen.objectness, seen.rpn_offsets, seen.anchor_labels, seen.rpn_goals = args

    def of_sampler(args, result):
        seen.positive_anchors, seen.negative_anchors = result

    def of_heads(args, result):
        seen.candidates, seen.targets = [p.clone() for p in args[0]], args[1]
        seen.regions, seen.matched, seen.labels, seen.offsets = [[*part] for part in result]

    keep(model.rpn, "compute_loss", of_rpn)
    keep(model.rpn, "fg_bg_sampler", of_sampler)
    keep(model.rpn.anchor_generator, "forward", lambda args, result: setattr(seen, "anchors", result))
    keep(model.roi_heads, "select_training_samples", of_heads)
    keep(model, "embed", lambda args, result: setattr(seen, "box_offsets", result[1]))
    keep(model, "class_logits", lambda args, result: setattr(seen, "logits", result))
    keep(model, "mask_logits", lambda args, result: setattr(seen, "mask_logits", result))
    torch.manual_seed(1)
    losses = model(*pictures_and_targets())
    seen.losses = {name: value.item() for name, value in losses.items()}

    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.detach().numpy() if not value.is_floating_point() else value.detach().double().numpy()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    for name, value in vars(seen).items():
        setattr(seen, name, plain(value))
    return seen


def test_anchors_are_matched_and_sampled_as_the_papers_codes_do(seen):
    for anchors, target, labels, goals, positive, negative in zip(
        seen.anchors, seen.targets, seen.anchor_labels, seen.rpn_goals, seen.positive_anchors, seen.negative_anchors
    ):
        overlap = iou(target["boxes"], anchors)
        best = overlap.max(0)
        expected = np.where(best >= 0.7, 1, np.where(best < 0.3, 0, -1))
        expected[(overlap == overlap.max(1, keepdims=True)).any(0)] = 1  # the best of each object, whatever its IoU
        assert (labels == expected).mean() > 0.999  # float32's ties
        chosen = positive.astype(bool) | negative.astype(bool)
        assert (labels[positive.astype(bool)] == 1).all() and (labels[negative.astype(bool)] == 0).all()
        assert positive.sum() == min(128, (labels == 1).sum()) and chosen.sum() == 256
        of_objects = labels == 1
        expected_goals = deltas(anchors, target["boxes"][overlap.argmax(0)], DELTAS["rpn"])
        np.testing.assert_allclose(goals[of_objects], expected_goals[of_objects], atol=1e-4)


def test_losses_of_the_region_proposal_network(seen):
    positive = np.concatenate(seen.positive_anchors).astype(bool)
    chosen = positive | np.concatenate(seen.negative_anchors).astype(bool)
    labels = np.concatenate(seen.anchor_labels)
    difference = seen.rpn_offsets - np.concatenate(seen.rpn_goals)
    assert chosen.sum() == 512 and 0 < positive.sum() < 256
    objectness = bce(seen.objectness.ravel()[chosen], labels[chosen]).mean()
    assert seen.losses["loss_objectness"] == pytest.approx(objectness, rel=1e-5)
    assert seen.losses["loss_rpn_box_reg"] == pytest.approx(smooth_l1(difference[positive]).sum() / 512, rel=1e-4)


def test_regions_are_matched_and_sampled(seen):
    for candidates, target, regions, matched, labels, offsets in zip(
        seen.candidates, seen.targets, seen.regions, seen.matched, seen.labels, seen.offsets
    ):
        known = np.concatenate([candidates, target["boxes"]])
        assert (regions[:, None] == known[None]).all(-1).any(1).all(), "proposals and true boxes, nothing else"
        overlap = iou(target["boxes"], regions)
        expected = np.where(overlap.max(0) >= 0.5, target["labels"][overlap.argmax(0)], 0)
        assert (labels == expected).all()
        everywhere = iou(target["boxes"], known).max(0) >= 0.5
        assert len(labels) == 64 and (labels > 0).sum() == min(16, everywhere.sum())
        objects = labels > 0
        assert (matched[objects] == overlap.argmax(0)[objects]).all()
        goals = deltas(regions, target["boxes"][overlap.argmax(0)], DELTAS["box_head"])
        np.testing.assert_allclose(offsets[objects], goals[objects], atol=1e-3)


def test_losses_of_the_heads(seen):
    labels = np.concatenate(seen.labels)
    terms = np.log(np.exp(seen.logits).sum(1)) - seen.logits[np.arange(len(labels)), labels]
    expected = (np.where(labels > 0, 1, 0.2) * terms).sum() / len(labels)
    assert seen.losses["loss_classifier"] == pytest.approx(expected, rel=1e-5)
    objects = labels > 0
    difference = (seen.box_offsets - np.concatenate(seen.offsets))[objects]
    assert (np.abs(difference) < BETA).any() and (np.abs(difference) > BETA).any()
    assert seen.losses["loss_box_reg"] == pytest.approx(smooth_l1(difference).sum() / len(labels), rel=1e-4)
    masks = np.concatenate(
        [
            [roi_align(target["masks"][i].astype(float), box, 28) for box, i in zip(regions[of > 0], matched[of > 0])]
            for target, regions, matched, of in zip(seen.targets, seen.regions, seen.matched, seen.labels)
        ]
    )
    assert 0.1 < masks.mean() < 0.9
    assert seen.losses["loss_mask"] == pytest.approx(bce(seen.mask_logits[:, 0], masks).mean(), rel=1e-4)


@pytest.fixture(scope="module")
def twins():
    """Our detector, ResNet-50-FPN, and torchvision's of the same weights: a class's scores are those of its name's
    vector, its boxes and masks those of all classes."""
    torch.manual_seed(0)
    settings = {"similarity": "dot", "temperature": 1.0, "background": "learned", "background_weight": 1.0}
    text = F.normalize(torch.randn(4, 6), dim=1)
    settings |= SIZES | {"box_score_thresh": 0.8, "box_detections_per_img": 1000}
    ours = OpenVocabularyMaskRCNN(backbone="resnet50", dimension=6, **settings)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    kept = {name: settings[name] for name in (*SIZES, "box_score_thresh", "box_detections_per_img")}
    theirs = MaskRCNN(backbone, num_classes=1 + len(text), **kept)
    shared = {n: value for n, value in ours.state_dict().items() if not n.startswith("roi_heads.box_predictor.")}
    last = "roi_heads.mask_predictor.mask_fcn_logits."
    for end in ("weight", "bias"):
        shared[last + end] = torch.cat([shared[last + end]] * 5)
    head = ours.roi_heads.box_predictor
    names = torch.cat([head.background_vector(None)[None], text])
    shared["roi_heads.box_predictor.cls_score.weight"] = names @ head.embedding.weight
    shared["roi_heads.box_predictor.cls_score.bias"] = names @ head.embedding.bias
    shared["roi_heads.box_predictor.bbox_pred.weight"] = torch.cat([head.box.weight] * 5)
    shared["roi_heads.box_predictor.bbox_pred.bias"] = torch.cat([head.box.bias] * 5)
    theirs.load_state_dict(shared)
    ours.set_vocabulary(text)
    return ours, theirs


def test_losses_and_gradients_are_torchvisions(twins):
    images, targets = pictures_and_targets()
    losses, gradients = [], []
    for model in twins:
        torch.manual_seed(5)
        losses.append(model.train()(images, targets))
        sum(losses[-1].values()).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    ours, theirs = losses
    assert set(ours) == set(theirs) == {*LOSSES}
    for name in LOSSES:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)
    ours, theirs = gradients
    shared = [name for name in ours if name in theirs and "predictor" not in name]
    assert {name.split(".")[0] for name in shared} == {"backbone", "rpn", "roi_heads"}
    for name in shared:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def test_detections_are_torchvisions(twins):
    """But for those smaller than a pixel, which have no mask: we leave them out, and torchvision those below 0.01."""
    images, _ = pictures_and_targets()
    with torch.no_grad():
        results = [model.eval()(images) for model in twins]
    for ours, theirs in zip(*results):
        large = (theirs["boxes"][:, 2:] - theirs["boxes"][:, :2]).amin(1) >= 1
        assert len(ours["boxes"]) == large.sum() > 20
        for name in ("scores", "labels", "boxes", "masks"):
            torch.testing.assert_close(ours[name], theirs[name][large], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backbone, strides", [("resnet50", (4, 8, 16, 32)), ("small", (4, 8, 16))])
def test_regions_are_pooled_from_the_level_of_their_size(backbone, strides):
    """Level floor(4 + log2(sqrt(area) / 224)), of stride 2^level (Lin et al., 2017, Eq. 1), within those there are."""
    model = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, **SIZES)
    maps = {str(i): torch.full((1, 1, 800 // s, 1344 // s), float(s)) for i, s in enumerate(strides)}
    sides = np.array([20, 55, 57, 111, 113, 223, 225, 447, 449, 790])
    boxes = np.stack([np.full(10, 4.0), np.full(10, 4.0), 4 + 0.5 * sides, 4 + 2.0 * sides], 1)
    boxes[-1] = [4, 4, 1304, 484]  # as large as a square of 790
    expected = 2.0 ** np.floor(4 + np.log2(sides / 224)).clip(2, np.log2(strides[-1]))
    inside = boxes[:, 3] < 796
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        pooled = pool(maps, [torch.from_numpy(boxes[inside]).float()], [(800, 1344)])
        assert np.allclose(pooled.mean((1, 2, 3)), expected[inside])
    assert set(expected[inside]) == set(strides)
