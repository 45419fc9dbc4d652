"""XPM's equations against a direct evaluation; Eq. 6 against an estimate of many samples."""

import math

import pytest
import torch

from models.xpm import equations as xpm

torch.manual_seed(0)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_equation_2_takes_the_region_most_like_each_word():
    regions, words = torch.randn(5, 4), torch.randn(3, 4)
    expected = [max(range(5), key=lambda r: float(regions[r] @ word)) for word in words]
    assert xpm.align(regions @ words.t()).tolist() == expected


def test_equation_3_is_the_mean_negative_log_probability_of_the_words():
    logits, words = torch.randn(3, 6), torch.tensor([4, 0, 5])
    terms = [
        -math.log(math.exp(row[w]) / sum(math.exp(v) for v in row)) for row, w in zip(logits.tolist(), words.tolist())
    ]
    assert xpm.cross_modal_loss(logits, words).item() == pytest.approx(sum(terms) / 3, rel=1e-5)
    alpha = torch.tensor([0.2, 1.0, 0.0])
    expected = sum(a * t for a, t in zip(alpha.tolist(), terms)) / 3
    assert xpm.cross_modal_loss(logits, words, alpha).item() == pytest.approx(expected, rel=1e-5)


def test_equation_4_binarises_at_a_logit_of_zero():
    assert xpm.binary_mask(torch.tensor([-0.1, 0.0, 2.0])).tolist() == [False, True, True]


def test_equation_5_is_the_pixelwise_cross_entropy():
    logits, masks = torch.randn(2, 3, 3), (torch.rand(2, 3, 3) > 0.5).float()
    terms = [
        -math.log(sigmoid(x) if m else 1 - sigmoid(x))
        for x, m in zip(logits.flatten().tolist(), masks.flatten().tolist())
    ]
    assert xpm.mask_loss(logits, masks).item() == pytest.approx(sum(terms) / 18, rel=1e-5)


@pytest.mark.parametrize("kind", ["expected", "likelihood"])
def test_equation_6_is_what_many_samples_say(kind):
    logits, masks = torch.tensor([[[1.5, -2.0], [0.3, 4.0]]]), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    variance = torch.tensor([[[0.5, 2.0], [0.01, 9.0]]])
    grid = torch.linspace(-9, 9, 20001, dtype=torch.float64)  # the expectation by quadrature
    density = torch.exp(-grid.square() / 2)
    density /= density.sum()
    total = 0.0
    for x, v, m in zip(logits.flatten(), variance.flatten(), masks.flatten()):
        p = torch.sigmoid(x + v.sqrt() * grid)
        likelihood = p if m else 1 - p
        total += float(
            -(density * likelihood.log()).sum() if kind == "expected" else -(density * likelihood).sum().log()
        )
    torch.manual_seed(1)
    loss = xpm.noisy_mask_loss(logits, variance, masks, 200_000, kind).item()
    assert loss == pytest.approx(total / 4, rel=0.01)


def test_noise_pays_where_a_pixel_contradicts_its_mask_under_the_likelihood_alone():
    logits, wrong = torch.full((1, 1, 1), 4.0), torch.zeros(1, 1, 1)
    slopes = {}
    for kind in ("expected", "likelihood"):
        variance = torch.full((1, 1, 1), 1.0, requires_grad=True)
        torch.manual_seed(2)
        xpm.noisy_mask_loss(logits, variance, wrong, 50_000, kind).backward()
        slopes[kind] = float(variance.grad)
    assert slopes["likelihood"] < -0.05 < 0 <= slopes["expected"] + 0.01


def test_the_noise_is_reparametrised_and_positive():
    raw = torch.tensor([-60.0, 0.0, 500.0], requires_grad=True)
    variance = xpm.noise_variance(raw)
    assert variance.tolist() == pytest.approx([xpm.NOISE_FLOOR, math.log(2), xpm.NOISE_CEILING])
    assert xpm.share_at_bound(variance).item() == pytest.approx(2 / 3)
    assert xpm.NOISE_FLOOR < 0.01, "the least average noise that XPM found (4.1)"
    torch.manual_seed(0)
    xpm.noisy_mask_loss(torch.zeros(1, 1, 1), variance[1].view(1, 1, 1), torch.ones(1, 1, 1), 64).backward()
    assert raw.grad[1] != 0


def test_equation_7_is_eta_over_the_average_noise():
    variance = torch.tensor([[[0.1, 0.3], [0.2, 0.2]], [[1.0, 1.0], [2.0, 4.0]]])
    assert xpm.reliability(variance, 0.05).tolist() == pytest.approx([0.05 / 0.2, 0.05 / 2.0])
    assert xpm.reliability(variance, 0.4).tolist() == pytest.approx([1.0, 0.2])


def test_no_gradient_of_the_weighted_loss_reaches_the_noise():
    variance = torch.rand(2, 3, 3, requires_grad=True)
    logits = torch.randn(2, 4, requires_grad=True)
    xpm.cross_modal_loss(logits, torch.tensor([0, 1]), xpm.reliability(variance, 0.1)).backward()
    assert variance.grad is None and logits.grad.abs().sum() > 0


def test_the_other_weights_of_table_3():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    assert xpm.class_score(logits, torch.tensor([0, 1])).tolist() == pytest.approx([sigmoid(2.0), 0.5])
    masks = torch.tensor([[[3.0, -1.0]], [[-2.0, -2.0]]])
    assert xpm.pixel_score(masks).tolist() == pytest.approx([sigmoid(3.0), 0.0])
    sure, torn = [[9.0, -9.0]] * 4, [[9.0, -9.0], [-9.0, 9.0]] * 2
    passes = torch.tensor([sure, torn]).transpose(0, 1)
    certain = xpm.dropout_certainty(passes)
    assert certain[0] > 0.99 and certain[1] < 0.01


def test_nothing_to_learn_from_is_a_loss_of_zero():
    empty = torch.zeros(0, 4, 4, requires_grad=True)
    words = torch.zeros(0, dtype=torch.long)
    for loss in (
        xpm.cross_modal_loss(torch.zeros(0, 3, requires_grad=True), words),
        xpm.mask_loss(empty, empty),
        xpm.noisy_mask_loss(empty, empty, empty, 3),
    ):
        assert loss.item() == 0
        loss.backward()
