"""Students that label by vision alone."""

import pytest
import torch
import torch.nn.functional as F

from models.xpm.self_training import SELF_TRAINED, SelfTrained, changed, focal_loss, follow

TEXT = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(3)), dim=1)


def student(strategy="unbiased_teacher", sure=0.0):
    torch.manual_seed(0)
    model = SelfTrained(
        base=2,
        strategy=strategy,
        sure=sure,
        decay=0.9,
        pseudo_weight=1.0,
        backbone="small",
        dimension=6,
        min_size=64,
        max_size=96,
        frozen=False,
    ).train()
    model.start_teaching()
    return model


def batch():
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    target = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "masks": masks}
    return [torch.rand(3, 64, 80)], [target | {"pseudo": torch.tensor([False]), "annotated": torch.tensor(True)}]


def test_the_teacher_is_a_moving_average():
    one, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    wanted = 0.75 * one.weight + 0.25 * other.weight
    follow(one, other, 0.75)
    torch.testing.assert_close(one.weight, wanted)


@pytest.mark.parametrize("strategy", SELF_TRAINED)
def test_a_step_learns_from_annotations_and_from_what_the_teacher_sees(strategy):
    model = student(strategy)
    losses = model.losses(*batch(), TEXT)
    assert losses["labels"] > 0 and {"loss_mask", "loss_mask_pseudo", "loss_classifier_pseudo"} <= losses.keys()
    assert strategy == "soft_teacher" or "loss_box_reg_pseudo" not in losses
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    assert all(weight.grad is None for weight in model.teacher.parameters())
    assert model.roi_heads.box_predictor.embedding.weight.grad.abs().sum() > 0


def test_what_the_teacher_is_not_sure_of_teaches_nothing():
    losses = student(sure=1.0).losses(*batch(), TEXT)
    assert losses["labels"] == 0 and not any(name.endswith("_pseudo") for name in losses)


def test_focal_loss_is_the_weighted_cross_entropy():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    p = logits.softmax(1)[torch.arange(4), labels]
    assert focal_loss(logits, labels).item() == pytest.approx(float((-((1 - p) ** 1.5) * p.log()).mean()), rel=1e-5)


def test_a_changed_picture_keeps_its_shape_and_range():
    picture = torch.rand(3, 20, 30)
    other = changed(picture)
    assert other.shape == picture.shape and other.min() >= 0 and other.max() <= 1 and not torch.equal(other, picture)
