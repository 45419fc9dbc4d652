"""Every student's steps, whatever a batch holds, name the same scalars, so that parts of a batch and processes can be
averaged."""

import itertools

import pytest
import torch

from models.xpm.self_training import SELF_TRAINED, SelfTrained
from models.xpm.student import STRATEGIES, RobustStudent
from structures.errors import UserError
from training.detector import train_detector

SIZES = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "frozen": False}
TEXT = torch.nn.functional.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(3)), dim=1)
# whether a picture has base annotations, and whether it has pseudo-masks
KINDS = list(itertools.product((True, False), (True, False)))


def student(strategy, **options):
    torch.manual_seed(0)
    if strategy in SELF_TRAINED:
        options |= {"confidence_threshold": 0.3, "ema_decay": 0.75, "pseudo_weight": 1.0}
    model = (SelfTrained if strategy in SELF_TRAINED else RobustStudent)(base=2, strategy=strategy, **SIZES, **options)
    model.train().set_vocabulary(TEXT)
    if strategy in SELF_TRAINED:
        model.start_teaching()
    return model


def picture(annotated, labelled, seed=1):
    """A picture of one base object, annotated or not, and one object that a caption names, labelled or not."""
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[0, 10:40, 10:50] = masks[1, 20:60, 30:70] = 1
    target = {
        "boxes": torch.tensor([[10.0, 10, 50, 40], [30.0, 20, 70, 60]]),
        "labels": torch.tensor([2, 3]),
        "masks": masks,
        "pseudo": torch.tensor([False, True]),
        "weight": torch.ones(2),
    }
    kept = torch.tensor([annotated, labelled])
    image = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(seed))
    return image, {key: value[kept] for key, value in target.items()} | {"annotated": torch.tensor(annotated)}


def of(images_and_targets):
    return [list(part) for part in zip(*images_and_targets)]


@pytest.mark.parametrize("strategy", (*STRATEGIES, *SELF_TRAINED))
def test_every_batch_names_the_same_scalars_and_can_be_gone_back_through(strategy):
    model = student(strategy)
    keys = None
    for kinds in ([kind] for kind in KINDS):
        losses = model(*of([picture(*kind) for kind in kinds]))
        keys = keys or tuple(losses)
        assert tuple(losses) == keys, kinds
        for name, value in losses.items():
            assert isinstance(value, torch.Tensor) and value.shape == () and value.is_floating_point(), name
            assert value.device == TEXT.device and torch.isfinite(value), name
        model.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()


@pytest.mark.parametrize("strategy", (*STRATEGIES, *SELF_TRAINED))
def test_a_batch_in_parts_of_which_one_has_no_annotations_is_learned_from(strategy, tmp_path):
    parts = [[picture(*kind)] for kind in KINDS]
    calls = iter(range(4))
    options = {"lr": 1e-3, "warmup": 0, "milestones": (), "optimizer": "adamw", "weight_decay": 0.0, "save_every": 9}
    curve = train_detector(
        student(strategy),
        lambda step: parts[next(calls)],
        steps=2,
        accumulate=2,
        precision="fp32",
        seed=1,
        device="cpu",
        scratch=tmp_path,
        description="parts",
        **options,
    )
    names = set(student(strategy)(*of([picture(True, True)])))
    assert {row["name"] for row in curve} == names | {"loss"} and next(calls, None) is None
    losses = {row["name"]: row["value"] for row in curve}
    assert losses["loss_mask"] > 0 and losses["loss"] > losses["loss_classifier"] > 0


def gradient(module):
    return sum(weight.grad.abs().sum().item() for weight in module.parameters() if weight.grad is not None)


@pytest.mark.parametrize(
    ("strategy", "asked"),
    [("none", ["cross_modal"]), ("none", ["mask"]), ("stochastic_bce", ["mask"]), ("robust", ["cross_modal", "mask"])],
)
def test_the_losses_that_are_asked_for_are_those_that_teach(strategy, asked):
    """XPM, Fig. 6: L_X moves the embedding head, L_M the mask head, and its noise where that is estimated."""
    model = student(strategy, pseudo_losses=asked)
    losses = model(*of([picture(False, True)]))
    assert (losses["loss_cross_modal"] > 0) == ("cross_modal" in asked)
    assert (losses["loss_pseudo_mask"] > 0) == ("mask" in asked)
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    heads = model.roi_heads
    assert (gradient(heads.box_predictor.embedding) > 0) == ("cross_modal" in asked)
    assert (gradient(heads.mask_predictor) > 0) == ("mask" in asked)
    assert (gradient(model.noise_head) > 0) == ("mask" in asked and strategy != "none")


@pytest.mark.parametrize("strategy", ("none", *SELF_TRAINED))
def test_boxes_alone_teach_no_mask(strategy):
    """XPM, Table 1, box supervision: whatever the batch, nothing reaches the mask head."""
    options = {} if strategy in SELF_TRAINED else {"pseudo_losses": ["cross_modal"]}
    model = student(strategy, supervision="boxes", **options)
    losses = model(*of([picture(*kind) for kind in KINDS]))
    assert losses["loss_mask"] == 0 and losses["loss_box_reg"] > 0
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    heads = model.roi_heads
    assert gradient(heads.mask_head) == gradient(heads.mask_predictor) == 0 < gradient(heads.box_predictor)


@pytest.mark.parametrize(
    ("asked", "frozen"),
    [
        (["cross_modal"], ["backbone", "pyramid", "box_head", "embedding"]),
        (["mask"], ["backbone", "pyramid", "mask_head"]),
        (["cross_modal", "mask"], ["backbone", "pyramid", "box_head", "embedding", "mask_head"]),
    ],
)
def test_a_student_that_could_learn_nothing_from_pseudo_masks_is_refused(asked, frozen):
    """A batch without annotations would have no weight to go back to."""
    with pytest.raises(UserError, match=r"train_student\.frozen.*train_student\.losses"):
        student("none", pseudo_losses=asked).freeze(frozen)
    model = student("none", pseudo_losses=asked)
    model.freeze(frozen[:-1])
    losses = model(*of([picture(False, True)]))
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()


def test_what_contradicts_itself_is_refused():
    with pytest.raises(UserError, match=r"robust learns by the mask loss.*train_student\.losses"):
        student("robust", pseudo_losses=["cross_modal"])
    with pytest.raises(UserError, match=r"teacher of boxes.*\[cross_modal\]"):
        student("none", supervision="boxes")
    with pytest.raises(ValueError, match="no losses"):
        student("none", pseudo_losses=["everything"])
