"""Students that label by vision alone."""

import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import LOSSES
from models.xpm.self_training import SELF_TRAINED, SelfTrained, augment_strongly, focal_loss

TEXT = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(3)), dim=1)
KEYS = (*LOSSES, *(f"{name}_pseudo" for name in LOSSES), "labels")
BOXES = ("loss_rpn_box_reg_pseudo", "loss_box_reg_pseudo")


def student(strategy="unbiased_teacher", confidence_threshold=0.0):
    torch.manual_seed(0)
    model = SelfTrained(
        base=2,
        strategy=strategy,
        confidence_threshold=confidence_threshold,
        ema_decay=0.75,
        pseudo_weight=1.0,
        backbone="small",
        dimension=6,
        min_size=64,
        max_size=96,
        frozen=False,
    ).train()
    model.set_vocabulary(TEXT)
    model.start_teaching()
    return model


def batch():
    torch.manual_seed(1)
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "masks": masks}
    return [torch.rand(3, 64, 80)], [target | {"pseudo": torch.tensor([False]), "annotated": torch.tensor(True)}]


def total(losses):
    return sum(value for name, value in losses.items() if name.startswith("loss"))


def label(stable):
    """A teacher's label of one object."""
    _, [target] = batch()
    return {key: target[key] for key in ("boxes", "labels", "masks")} | {"stable": torch.tensor([stable])}


def test_the_teacher_is_a_moving_average_in_evaluation_mode():
    model = student()
    with torch.no_grad():
        for weight in model.teacher.parameters():
            weight.fill_(1.0)
        for name, weight in model.named_parameters():
            if not name.startswith("teacher."):
                weight.fill_(3.0)
    model.update_teacher()
    assert all((weight == 0.75 * 1 + 0.25 * 3).all() for weight in model.teacher.parameters())
    assert not model.train().teacher.training


@pytest.mark.parametrize("strategy", SELF_TRAINED)
def test_a_step_learns_from_annotations_and_from_what_the_teacher_sees(strategy):
    model = student(strategy)
    losses = model(*batch())
    assert tuple(losses) == KEYS and losses["labels"].dtype == torch.float32 and losses["labels"] > 0
    assert all(losses[name] > 0 for name in (*LOSSES, "loss_classifier_pseudo", "loss_mask_pseudo"))
    total(losses).backward()
    assert all(weight.grad is None for weight in model.teacher.parameters())
    assert model.roi_heads.box_predictor.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("strategy", "stable", "learns_boxes"),
    [("soft_teacher", True, True), ("soft_teacher", False, False), ("unbiased_teacher", True, False)],
)
def test_boxes_are_learned_by_soft_teacher_alone_and_from_stable_ones(monkeypatch, strategy, stable, learns_boxes):
    model = student(strategy)
    monkeypatch.setattr(model, "labels", lambda images, text: [label(stable)])
    losses = model(*batch())
    assert losses["labels"] == 1 and losses["loss_mask_pseudo"] > 0
    assert all((losses[name] > 0) == learns_boxes for name in BOXES)


def test_boxes_are_stable_where_the_teacher_puts_them_back():
    model = student("soft_teacher")
    images, boxes = batch()[0], torch.tensor([[10.0, 10, 50, 40], [20.0, 20, 60, 60]])
    images = [F.interpolate(images[0][None], (64, 96))[0]]
    model.teacher.transform.min_size, model.teacher.transform.max_size = (64,), 96  # boxes in pixels of the batch

    class Coder:
        def decode(self, deltas, jittered):
            """The first box back to where it was, the second to where it was moved."""
            refined = jittered[0].view(-1, 2, 4).clone()
            refined[:, 0] = boxes[0]
            return refined.view(-1, 1, 4)

    model.teacher.roi_heads.box_coder = Coder()
    variation = model.box_jitter_variation(images[0], boxes)
    assert variation[0] < 1e-6 and 0.01 < variation[1] < 0.06  # a shift within 6% of the size


def test_soft_teacher_weights_the_background_by_its_teachers_probability():
    """A region that the teacher is sure not to be background hardly counts as such; focal loss does not ask the
    teacher."""
    model = student("soft_teacher")
    images, _ = batch()
    pictures, _ = model.transform(images)
    proposals = [torch.tensor([[10.0, 10, 50, 40], [5.0, 5, 30, 30]])]
    with torch.no_grad():
        embedding, _ = model.teacher.embed(model.teacher.backbone(pictures.tensors), proposals, pictures.image_sizes)
        background = model.teacher.class_logits(embedding, TEXT).softmax(1)[:, 0]
    logits, labels = torch.randn(2, 4), torch.tensor([0, 3])
    weights = [0.2 * background[0].item(), 1.0]
    terms = [-logits.log_softmax(1)[i, label].item() for i, label in enumerate(labels)]
    expected = sum(w * t for w, t in zip(weights, terms)) / sum(weights)
    assert model._soft(pictures, TEXT)(logits, labels, proposals).item() == pytest.approx(expected, rel=1e-4)
    assert student("unbiased_teacher")._focal(logits, labels, proposals) == focal_loss(logits, labels)


@pytest.mark.parametrize("strategy", SELF_TRAINED)
def test_the_strategy_chooses_the_classification_loss(monkeypatch, strategy):
    model = student(strategy)
    monkeypatch.setattr(model, "labels", lambda images, text: [label(True)])
    monkeypatch.setattr(model, "_soft", lambda batch, text: lambda logits, *_: 7.0 + 0 * logits.sum())
    monkeypatch.setattr(model, "_focal", lambda logits, *_: 5.0 + 0 * logits.sum())
    losses = model(*batch())
    assert losses["loss_classifier_pseudo"].item() == (7.0 if strategy == "soft_teacher" else 5.0)


@pytest.mark.parametrize("annotated", [True, False])
def test_what_the_teacher_is_not_sure_of_teaches_nothing_and_a_step_can_still_be_taken(annotated):
    images, [target] = batch()
    losses = student(confidence_threshold=1.0)(images, [target | {"annotated": torch.tensor(annotated)}])
    assert tuple(losses) == KEYS and losses["labels"] == 0
    assert all(value == 0 for name, value in losses.items() if name.endswith("_pseudo"))
    assert (total(losses) > 0) == annotated
    total(losses).backward()


def test_labels_are_confident_detections_with_boxes_of_a_pixel_at_least():
    model = student("soft_teacher", confidence_threshold=0.3)
    images, _ = batch()
    [detections] = model.teacher.detect_in(images, {"all": TEXT}, score_threshold=0.3, nms_iou=0.5, max_detections=20)
    [labels] = model.labels(images, TEXT)
    assert 0 < len(labels["labels"]) == len(detections["all"]["labels"])
    assert torch.equal(labels["labels"], detections["all"]["labels"] + 1)
    assert labels["stable"].dtype == torch.bool and len(labels["stable"]) == len(labels["boxes"])
    assert not any(value.is_inference() for value in labels.values())


def test_no_such_strategy():
    with pytest.raises(ValueError, match="no strategy 'hope'"):
        student("hope")


def test_focal_loss_is_the_weighted_cross_entropy():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    p = logits.softmax(1)[torch.arange(4), labels]
    assert focal_loss(logits, labels).item() == pytest.approx(float((-((1 - p) ** 1.5) * p.log()).mean()), rel=1e-5)


def test_an_augmented_picture_keeps_its_shape_and_range_and_depends_on_the_seed_alone():
    picture = torch.rand(3, 20, 30)
    torch.manual_seed(0)
    pictures = [augment_strongly(picture) for _ in range(8)]
    torch.manual_seed(0)
    assert torch.equal(augment_strongly(picture), pictures[0])
    assert all(other.shape == picture.shape and other.min() >= 0 and other.max() <= 1 for other in pictures)
    assert sum(torch.equal(other, picture) for other in pictures) <= 1
