"""The open-vocabulary Mask R-CNN: Eq. 8, losses, detections."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN
from structures.errors import UserError


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
    expected = tops / tops.sum(1, keepdim=True)
    torch.testing.assert_close(detector.class_logits(h, text).softmax(1), expected)


@pytest.mark.parametrize("backbone", ["small", "resnet50_c4"])
def test_the_detector_has_losses_gradients_and_detections(backbone):
    torch.manual_seed(0)
    detector = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, min_size=64, max_size=96, frozen=False)
    text = F.normalize(torch.randn(3, 6), dim=1)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64)]
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    box = torch.tensor([[10.0, 10, 50, 40]])
    targets = [
        {"boxes": box, "labels": torch.tensor([2]), "masks": m}
        for m in (masks, masks[:, :, :64].repeat(1, 2, 1)[:, :72])
    ]
    detector.set_vocabulary(text)
    losses = detector.train()(images, targets)
    assert tuple(losses) == LOSSES
    sum(losses.values()).backward()
    assert detector.roi_heads.box_predictor.background.grad.abs().sum() > 0
    results = detector.eval().detect(
        images[0], {"all": text, "first": text[:1]}, score_threshold=0.0, nms_iou=0.5, max_detections=7
    )
    for detections, names in zip(results.values(), (3, 1)):
        assert len(detections["boxes"]) <= 7 and detections["masks"].shape[1:] == (64, 80)
        assert detections["labels"].max() < names and (detections["scores"].diff() <= 0).all()


def test_in_evaluation_mode_a_call_gives_the_detections_in_torchvisions_form():
    torch.manual_seed(0)
    thresholds = {"box_score_thresh": 0.01, "box_nms_thresh": 0.4, "box_detections_per_img": 6}
    detector = OpenVocabularyMaskRCNN(backbone="small", dimension=6, min_size=64, max_size=96, **thresholds).eval()
    text = F.normalize(torch.randn(3, 6), dim=1)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64)]
    detector.set_vocabulary(text)
    reference = detector.detect_in(images, {"all": text}, score_threshold=0.01, nms_iou=0.4, max_detections=6)
    with torch.no_grad():
        results = detector(images)
    for image, detections, results_of_names in zip(images, results, reference):
        expected = results_of_names["all"]
        assert len(expected["boxes"]) == 6
        assert torch.equal(detections["boxes"], expected["boxes"]) and torch.equal(
            detections["scores"], expected["scores"]
        )
        assert torch.equal(detections["labels"], expected["labels"] + 1)
        assert detections["masks"].shape == (6, 1, *image.shape[-2:])
        assert torch.equal(detections["masks"][:, 0] > 0.5, expected["masks"])


def test_the_vocabulary_is_to_be_set_and_is_no_part_of_the_checkpoint(detector):
    model = copy.deepcopy(detector)
    keys = set(model.state_dict())
    with pytest.raises(RuntimeError, match="set_vocabulary"):
        model([torch.rand(3, 64, 80)])
    model.set_vocabulary(torch.eye(6)[:2])
    assert set(model.state_dict()) == keys


def test_frozen_parts_do_not_learn(detector):
    detector.freeze(["embedding", "backbone"])
    names = {name for name, weight in detector.named_parameters() if not weight.requires_grad}
    assert {"roi_heads.box_predictor.background", "roi_heads.box_predictor.embedding.weight"} <= names
    assert all(name.startswith(("backbone.body", "roi_heads.box_predictor")) for name in names)
    assert detector.roi_heads.box_predictor.box.weight.requires_grad
    with pytest.raises(ValueError, match="no part 'neck'"):
        detector.freeze(["neck"])


def test_a_mask_head_that_shares_a_stage_with_the_box_head_is_not_frozen_alone():
    model = OpenVocabularyMaskRCNN(backbone="resnet50_c4", dimension=6, min_size=64, max_size=96)
    with pytest.raises(UserError, match="freeze box_head as well"):
        model.freeze(["mask_head"])
    model.freeze(["box_head", "mask_head"])
    heads = model.roi_heads
    assert not any(
        weight.requires_grad for part in (heads.mask_head, heads.mask_predictor) for weight in part.parameters()
    )
    assert heads.box_predictor.embedding.weight.requires_grad


@pytest.mark.parametrize(
    "backbone, still",
    [("small", ("stem", "stages.0")), ("resnet50", ("conv1", "layer1")), ("resnet50_c4", ("conv1", "layer1"))],
)
def test_layers_that_are_not_trainable_stay_as_they_are(backbone, still):
    sizes = {"dimension": 6, "min_size": 64, "max_size": 96}
    model = OpenVocabularyMaskRCNN(backbone=backbone, trainable_layers=3, **sizes)
    body = model.backbone.body
    held = {name.removeprefix("layers.") for name, weight in body.named_parameters() if not weight.requires_grad}
    assert held and all(name.startswith(still) for name in held)
    assert all(weight.requires_grad for name, weight in body.named_parameters() if not name.startswith(still))
    assert all(weight.requires_grad for weight in OpenVocabularyMaskRCNN(backbone=backbone, **sizes).parameters())


def test_the_classification_loss_is_a_sum_over_the_number_of_regions(detector):
    """The authors divide by the number of regions, torch's weighted mean by the sum of the weights."""
    torch.manual_seed(1)
    model = copy.deepcopy(detector).train()
    model.set_vocabulary(F.normalize(torch.randn(3, 6), dim=1))
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "masks": masks}
    seen = {}

    def classify(logits, labels, proposals):
        seen["logits"], seen["labels"] = logits.detach().double().numpy(), labels.numpy()
        return logits.sum()

    batch, targets = model.transform([torch.rand(3, 64, 80)], [target])
    arguments = batch, model.backbone(batch.tensors), targets, model.text
    torch.manual_seed(2)
    model.detection_losses(*arguments, classify)
    torch.manual_seed(2)
    loss = float(model.detection_losses(*arguments)["loss_classifier"].detach())
    logits, labels = seen["logits"], seen["labels"]
    terms = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    assert 0 < (labels > 0).sum() < len(labels)
    expected = (terms[labels > 0].sum() + 0.2 * terms[labels == 0].sum()) / len(labels)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "backbone, stride, background",
    [
        ("small", 4, "learned"),
        pytest.param("small", 4, "rpn", marks=pytest.mark.published),
        pytest.param("resnet50", 4, "learned", marks=pytest.mark.published),
        pytest.param("resnet50_c4", 16, "zero", marks=pytest.mark.published),
    ],
)
def test_geometry_is_float32_at_full_size_under_bfloat16(backbone, stride, background):
    """bfloat16 has eight bits for a number: 800 x 1333 has fewer anchor columns in it, and a box at 1167 none."""
    torch.manual_seed(0)
    sizes = {"backbone": backbone, "dimension": 4, "min_size": 800, "max_size": 1333}
    model = OpenVocabularyMaskRCNN(**sizes, background=background)
    text = F.normalize(torch.randn(3, 4), dim=1)
    model.set_vocabulary(text)
    image, box = torch.rand(3, 800, 1333), torch.tensor([[1167.0, 500, 1268, 583]])
    masks = torch.zeros(1, 800, 1333, dtype=torch.uint8)
    masks[:, 500:583, 1167:1268] = 1
    seen: dict[str, list] = {"anchors": [], "proposals": [], "boxes": []}
    model.rpn.anchor_generator.register_forward_hook(lambda _, __, anchors: seen["anchors"].append(anchors[0]))
    model.rpn.register_forward_hook(lambda _, __, result: seen["proposals"].append(result[0][0]))
    sample = model.roi_heads.select_training_samples

    def watched(proposals, targets):
        result = sample(proposals, targets)
        seen["boxes"] += [targets[0]["boxes"], result[0][0]]
        return result

    model.roi_heads.select_training_samples = watched
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        losses = model.train()([image], [{"boxes": box, "labels": torch.tensor([1]), "masks": masks}])
    model.eval()
    with torch.no_grad():
        model.rpn(*(lambda batch: (batch, model.backbone(batch.tensors)))(model.transform([image])[0]))
    training, inference = seen["anchors"]
    assert torch.equal(training, inference)
    columns = {float(x) for x in ((training[:, 0] + training[:, 2]) / 2).tolist()}
    assert len(columns) >= -(-1333 // stride)  # one a column of the finest map at least
    true_box, sampled = seen["boxes"]
    assert torch.equal(true_box, box) and (sampled == box).all(1).any()
    assert sampled.dtype == torch.float32 and not torch.equal(sampled, sampled.bfloat16().float())
    for proposals in seen["proposals"]:
        assert proposals.dtype == torch.float32 and not torch.equal(proposals, proposals.bfloat16().float())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("backbone, background", [("small", "learned"), ("small", "rpn"), ("resnet50_c4", "learned")])
def test_what_boxes_are_made_of_is_float32_under_bfloat16(backbone, background):
    """Anchors are made in the type of the maps, proposals in that of the offsets, whatever the backbone and the RPN's head."""
    sizes = {"dimension": 6, "min_size": 64, "max_size": 96}
    model = OpenVocabularyMaskRCNN(backbone=backbone, background=background, frozen=False, **sizes)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = [*model.backbone(torch.rand(1, 3, 64, 64)).values()]
        logits, offsets = model.rpn.head(maps)
    assert {values.dtype for values in (*maps, *logits, *offsets)} == {torch.float32}


def test_how_many_sampled_regions_may_be_objects_is_a_setting():
    proposals = torch.tensor([[10.0, 10, 50, 40]]) + torch.arange(200)[:, None] * 0.01
    objects = {}
    for fraction in (0.25, 1.0):
        sizes = {"dimension": 6, "min_size": 64, "max_size": 96}
        model = OpenVocabularyMaskRCNN(backbone="small", positive_fraction=fraction, **sizes)
        target = {"boxes": proposals[:1], "labels": torch.tensor([1]), "masks": torch.zeros(1, 64, 80)}
        _, _, [labels], _ = model.roi_heads.select_training_samples([proposals], [target])
        objects[fraction] = int((labels > 0).sum())
    assert objects == {0.25: 16, 1.0: 64}  # of 64


def test_boxes_that_a_teacher_finds_within_a_training_step_are_float32(detector):
    """Self-training detects under autocast: the box head's offsets, too, would move boxes in bfloat16."""
    model = copy.deepcopy(detector).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        batch, _ = model.transform([torch.rand(3, 64, 80)])
        [boxes], _ = model.regions(batch, model.backbone(batch.tensors))
    assert boxes.dtype == torch.float32 and not torch.equal(boxes, boxes.bfloat16().float())


@pytest.mark.parametrize(
    "backbone, ranked, kept", [("resnet50", (2000, 1000), (2000, 1000)), ("resnet50_c4", (12000, 6000), (2000, 1000))]
)
def test_as_many_regions_are_ranked_and_kept_as_maskrcnn_benchmark_does(backbone, ranked, kept):
    """In training and testing. C4 has one map where FPN has five, each of which ranks so many."""
    rpn = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, min_size=64, max_size=96).rpn
    for training, before, after in zip((True, False), ranked, kept):
        rpn.training = training
        assert (rpn.pre_nms_top_n(), rpn.post_nms_top_n()) == (before, after)


@pytest.mark.parametrize("backbone", ["small", "resnet50_c4"])
def test_what_a_given_region_is_called_is_what_its_embedding_says_in_pixels_of_the_picture(backbone):
    """In a picture that the transform enlarges: Eq. 8 of the same regions, in pixels of the batch."""
    torch.manual_seed(0)
    detector = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, min_size=64, max_size=96).eval()
    image, text = torch.rand(3, 32, 40), F.normalize(torch.randn(3, 6), dim=1)
    boxes = torch.tensor([[2.0, 3, 20, 25], [10, 1, 39, 31]])
    given, called = detector.name_probabilities(image, boxes, text)
    with torch.inference_mode():
        batch, _ = detector.transform([image])
        embedding, _ = detector.embed(detector.backbone(batch.tensors), [2 * boxes], batch.image_sizes)
        expected = detector.class_logits(embedding, text).softmax(1)[:, 1:]
    assert batch.image_sizes == [(64, 80)]
    torch.testing.assert_close(given, boxes)
    torch.testing.assert_close(called, expected)
    both, called_both = detector.name_probabilities(image, boxes, text, own_regions=True)
    torch.testing.assert_close(both[:2], boxes)
    torch.testing.assert_close(called_both[:2], expected)
    assert len(both) > 2 and both[:, 2].max() <= 40 and both[:, 3].max() <= 32


@pytest.mark.parametrize("backbone", ["small", "resnet50", "resnet50_c4"])
def test_what_is_found_does_not_depend_on_the_image_before(backbone):
    """Of a low and wide one torchvision's RoIAlign would infer other scales of its maps, and keep them."""
    torch.manual_seed(0)
    text = F.normalize(torch.randn(3, 6), dim=1)
    wide, ordinary = torch.rand(3, 97, 501), torch.rand(3, 96, 128)
    first = OpenVocabularyMaskRCNN(backbone=backbone, dimension=6, min_size=96, max_size=144).eval()
    second = copy.deepcopy(first)
    options = {"score_threshold": 0.0, "nms_iou": 0.5, "max_detections": 20}
    after = [first.detect(image, {"all": text}, **options)["all"] for image in (wide, ordinary)]
    before = [second.detect(image, {"all": text}, **options)["all"] for image in (ordinary, wide)][::-1]
    for one, other in zip(after, before):
        assert len(one["boxes"]) > 0
        for name in ("boxes", "scores", "labels", "masks"):
            assert torch.equal(one[name], other[name]), name
