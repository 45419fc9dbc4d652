"""The robust student: what learns from what."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.detector.mask_rcnn import LOSSES
from models.xpm.student import STRATEGIES, RobustStudent

KEYS = (*LOSSES, "loss_cross_modal", "loss_pseudo_mask", "noise", "alpha_at_bound", "variance_at_bound")
SIZES = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "frozen": False}


def student(**options):
    torch.manual_seed(0)
    model = RobustStudent(base=2, **SIZES, **options).train()
    model.set_vocabulary(TEXT)
    return model


def batch():
    torch.manual_seed(1)
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    boxes = torch.tensor([[10.0, 10, 50, 40], [8.0, 8, 44, 40]])
    both = {"boxes": boxes, "labels": torch.tensor([2, 3]), "masks": masks, "weight": torch.ones(2)}
    both_kinds = both | {"pseudo": torch.tensor([False, True]), "annotated": torch.tensor(True)}
    nothing = {key: value[:0] for key, value in both.items()}
    no_label = nothing | {"pseudo": torch.zeros(0, dtype=torch.bool), "annotated": torch.tensor(False)}
    return [torch.rand(3, 64, 80), torch.rand(3, 64, 80)], [both_kinds, no_label]


TEXT = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(3)), dim=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("options", [{}, {"background": "zero", "similarity": "dot", "temperature": 1.0}])
def test_one_step_learns_from_annotations_and_pseudo_masks(strategy, options):
    model = student(strategy=strategy, **options)
    losses = model(*batch())
    assert tuple(losses) == KEYS and losses["loss_mask"] > 0 and losses["loss_pseudo_mask"] > 0
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    learns = model.noise_head.out.weight.grad is not None and model.noise_head.out.weight.grad.abs().sum() > 0
    assert learns == (strategy in ("robust", "stochastic_bce"))


def test_a_batch_whose_captions_name_nothing_costs_nothing():
    images, targets = batch()
    losses = student()(images[1:], targets[1:])
    assert tuple(losses) == KEYS and all(value == 0 for value in losses.values())
    sum(losses.values()).backward()


def test_annotations_have_their_whole_weight_beside_pictures_without_any():
    """So in parts of one picture, of which the mean is taken, this batch's would have half of it: docs/scale.md."""
    images, targets = batch()
    losses = []
    for count in (1, 2):
        model = student()
        model.backbone.eval()  # it normalises by stored statistics, as one that was pretrained
        torch.manual_seed(2)
        losses.append(model(images[:count], targets[:count]))
    alone, beside = (of["loss_objectness"].item() for of in losses)  # the others differ by the regions that are sampled
    assert beside == pytest.approx(alone, rel=1e-3) and alone > 0


def test_pictures_without_annotations_teach_no_background():
    images, targets = batch()
    unmarked = [targets[0] | {"annotated": torch.tensor(False), "pseudo": torch.tensor([True, True])}]
    losses = student()(images[:1], unmarked)
    assert tuple(losses) == KEYS and all(losses[name] == 0 for name in LOSSES) and losses["loss_cross_modal"] > 0


def test_losses_that_a_batch_does_not_have_leave_the_weights_alone():
    """No gradient, not one of zero: an optimizer passes over the region proposal network, weight decay and all."""
    images, targets = batch()
    model = student()
    losses = model(images[:1], [targets[0] | {"annotated": torch.tensor(False)}])
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    assert all(weight.grad is None for weight in model.rpn.parameters())


def test_noise_lowers_the_weight_of_a_label_and_its_cross_modal_loss():
    quiet, noisy = student(eta=0.1), student(eta=0.1)
    torch.nn.init.constant_(noisy.noise_head.out.bias, 5.0)
    low, high = (model(*batch())["loss_cross_modal"].item() for model in (noisy, quiet))
    assert 0 < low < high
    assert quiet.least_noise < noisy.least_noise < float("inf")


def test_balanced_weights_say_which_labels_count_not_how_much_all_do():
    """With one label a batch there is nothing to tell apart: a balanced student takes it for whole."""
    losses = {}
    for balanced in (False, True):
        model = student(eta=0.01, balanced=balanced)
        losses[balanced] = model(*batch())["loss_cross_modal"].item()
    plain = student(strategy="none")(*batch())["loss_cross_modal"].item()
    assert losses[False] < 0.1 * losses[True] and losses[True] == pytest.approx(plain, rel=1e-4)


def test_a_head_that_is_given_the_mask_tells_masks_apart():
    model = student(noise_input="region_and_mask")
    hidden = torch.randn(1, model.roi_heads.mask_predictor.conv5_mask.in_channels, 14, 14)
    one, other = (model.noise_head(hidden, masks) for masks in (torch.zeros(1, 28, 28), torch.ones(1, 28, 28)))
    assert one.shape == (1, 28, 28) and not torch.allclose(one, other)


def test_the_cross_modal_loss_leaves_the_noise_head_alone():
    model = student()
    model(*batch())["loss_cross_modal"].backward()
    assert model.noise_head.out.weight.grad is None
    assert model.roi_heads.box_predictor.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("bias", "eta", "alpha", "variance"), [(-80.0, 0.01, 1, 1), (0.0, 0.01, 0, 0), (0.0, 0.9, 1, 0), (80.0, 0.01, 0, 1)]
)
def test_the_shares_at_the_bounds_of_noise_and_reliability_are_recorded(bias, eta, alpha, variance):
    model = student(eta=eta)
    torch.nn.init.zeros_(model.noise_head.out.weight)
    torch.nn.init.constant_(model.noise_head.out.bias, bias)
    losses = model(*batch())
    assert all(torch.isfinite(value) for value in losses.values())
    assert (losses["alpha_at_bound"], losses["variance_at_bound"]) == (alpha, variance)


def test_the_least_noise_that_was_published_tells_labels_apart():
    """With eta = 0.01 (XPM, 4.1) a label as quiet as that is worth five times one whose noise is 0.05."""
    weights = []
    for noise in (0.01, 0.05):
        model = student(eta=0.01)
        torch.nn.init.zeros_(model.noise_head.out.weight)
        torch.nn.init.constant_(model.noise_head.out.bias, math.log(math.expm1(noise)))
        losses = model(*batch())
        assert losses["noise"].item() == pytest.approx(noise, rel=1e-4)
        weights.append(losses["loss_cross_modal"].item())
    assert weights[0] == pytest.approx(5 * weights[1], rel=1e-3)


@pytest.mark.parametrize("alpha_weighs", ["words", "masks", "both"])
def test_a_step_is_the_equations_of_the_paper(alpha_weighs):
    """Eqs. 3, 6 and 7 in NumPy, of what the student sees of three pseudo-masks; and with alpha on what it may be on."""
    model = student(eta=0.3, noise_loss="expected", samples=5, alpha_weighs=alpha_weighs)
    masks = (torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(5)) > 0.5).to(torch.uint8)
    boxes = torch.tensor([[10.0, 10, 50, 40], [8.0, 8, 44, 40], [30.0, 20, 70, 60]])
    target = {
        "boxes": boxes,
        "labels": torch.tensor([1, 3, 2]),
        "masks": masks,
        "weight": torch.tensor([1.0, 2.0, 0.5]),
    }
    features = model.backbone(torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(6)))
    args = features, [(64, 80)], [target], TEXT
    with torch.no_grad():
        torch.manual_seed(9)
        losses = model.pseudo_losses(*args)
        regions = {name: value.double().numpy() for name, value in model.look(*args).items() if name != "words"}
        torch.manual_seed(9)
        z = torch.randn(5, *regions["masks"].shape).double().numpy()
    names, v = np.array([0, 2, 1]), regions["variance"]
    log_p = regions["logits"] - np.log(np.exp(regions["logits"]).sum(1, keepdims=True))
    alpha = np.minimum(1, 0.3 / v.mean((1, 2)))
    of_words = regions["weight"] * (alpha if alpha_weighs in ("words", "both") else 1)
    of_masks = regions["weight"] * (alpha if alpha_weighs in ("masks", "both") else 1)
    cross_modal = -(of_words * log_p[np.arange(3), names]).mean()
    noisy = regions["mask_logits"] + np.sqrt(v) * z
    entropy = np.logaddexp(0, noisy) - regions["masks"] * noisy  # -m log s(x) - (1 - m) log (1 - s(x))
    mask = (of_masks[:, None, None] * entropy.mean(0)).mean()
    assert losses["loss_cross_modal"].item() == pytest.approx(cross_modal, rel=1e-4)
    assert losses["loss_pseudo_mask"].item() == pytest.approx(mask, rel=1e-4)
    assert losses["noise"].item() == pytest.approx(v.mean(), rel=1e-4)


def test_no_such_strategy():
    with pytest.raises(ValueError, match="no strategy 'hope'"):
        student(strategy="hope")
    with pytest.raises(ValueError, match="no alpha_weighs 'none'"):
        student(alpha_weighs="none")
