"""Cutting out by colour: mixtures against torch's Gaussians, masks against the drawn truth and OpenCV's GrabCut."""

import cv2
import numpy as np
import torch
from torch.distributions import MultivariateNormal

from models.grounding.crops import lab_colours
from models.masks.grabcut import _links, _log_density, _log_likelihood, _moments, _quadratic_terms, cut_out
from structures.masks import encode, iou

OPTIONS = {"seed_fraction": 0.2, "activation_logit": 2.0, "smoothness": 8.0, "position": 0.05}
OPTIONS |= {"components": 4, "rounds": 2, "sweeps": 10}


def scenes(count, side=32):
    """Pictures of a tilted two-coloured ellipse on noise, an activation that peaks on one end of it, and the truth."""
    rng = np.random.default_rng(0)
    pictures, activations, truths = [], [], []
    for _ in range(count):
        truth, part = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
        angle = int(rng.integers(180))
        cv2.ellipse(truth, (16, 16), (12, 7), angle, 0, 360, 1, -1)
        cv2.ellipse(part, (16, 16), (12, 7), angle, 0, 180, 1, -1)
        colours = rng.uniform(0, 1, (3, 3))
        picture = np.where(truth[..., None] > 0, np.where(part[..., None] > 0, colours[0], colours[1]), colours[2])
        noisy = np.clip(picture + rng.normal(0, 0.05, picture.shape), 0, 1)
        pictures.append(noisy.transpose(2, 0, 1).astype(np.float32))
        place = np.argwhere(truth > 0)[rng.integers(truth.sum())]
        distance = ((np.mgrid[:side, :side] - place[:, None, None]) ** 2).sum(0)
        activations.append(np.exp(-distance / 60).astype(np.float32))
        truths.append(truth > 0)
    inside = np.zeros((count, side, side), bool)
    inside[:, 3:-3, 3:-3] = True
    return np.stack(pictures), np.stack(activations), inside, np.stack(truths)


def _tensors(pictures, activations, inside):
    return torch.from_numpy(np.stack([lab_colours(p) for p in pictures])), *map(torch.from_numpy, (activations, inside))


def test_crops_are_cut_together_as_they_would_be_alone():
    tensors = _tensors(*scenes(6)[:3])
    together = cut_out(*tensors, **OPTIONS)
    pairs = torch.cat([cut_out(*(part[i : i + 2] for part in tensors), **OPTIONS) for i in (0, 2, 4)])
    torch.testing.assert_close(pairs, together, atol=1e-5, rtol=0)
    alone = torch.cat([cut_out(*(part[i : i + 1] for part in tensors), **OPTIONS) for i in range(6)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_an_object_of_two_colours_is_found_from_a_spot_of_activation():
    pictures, activations, inside, truths = scenes(12)
    probabilities = cut_out(*_tensors(pictures, activations, inside), **OPTIONS).numpy()
    assert (probabilities[~inside] == 0).all()
    ours = np.mean([iou(encode(mask), encode(truth)) for mask, truth in zip(probabilities > 0.5, truths)])
    box = np.mean([iou(encode(mask), encode(truth)) for mask, truth in zip(inside, truths)])
    opencv = []
    for picture, truth in zip(pictures, truths):
        mask = np.where(inside[0], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        image = (picture.transpose(1, 2, 0) * 255).astype(np.uint8)
        cv2.grabCut(image, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
        opencv.append(iou(encode(mask % 2 == 1), encode(truth)))
    assert ours > 0.9 > box + 0.4
    assert ours > np.mean(opencv) - 0.02


def test_density_is_that_of_torchs_gaussians():
    generator = torch.Generator().manual_seed(1)
    x, weights = torch.rand(2, 50, 5, generator=generator), torch.rand(2, 50, 3, generator=generator)
    terms = _quadratic_terms(x)
    total, mean, covariance = _moments(terms, 5, weights)
    density = (terms @ _log_density(total, mean, covariance).transpose(1, 2)).logsumexp(-1)
    share = total / total.sum(1, keepdim=True)
    expected = torch.stack(
        [
            share[:, k, None].log() + MultivariateNormal(mean[:, None, k], covariance[:, None, k]).log_prob(x)
            for k in range(3)
        ]
    ).logsumexp(0)
    difference = density - expected
    assert difference.std() < 1e-3  # up to the constant of all Gaussians
    centred = x[0] - mean[0, 0]
    by_hand = torch.einsum("n,ni,nj->ij", weights[0, :, 0], centred, centred) / weights[0, :, 0].sum()
    torch.testing.assert_close(covariance[0, 0], by_hand + 2e-4 * torch.eye(5), atol=1e-4, rtol=1e-3)


def test_a_fitted_mixture_prefers_what_it_was_fitted_to():
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(1, 400, 5, generator=generator)
    x[:, 200:] = x[:, 200:] * 0.2 + 2
    weights = torch.zeros(1, 400)
    weights[:, 200:] = 1
    density = _log_likelihood(_quadratic_terms(x - x.mean(1, keepdim=True)), 5, weights + 1e-4, 3)
    assert density[:, 200:].min() > density[:, :200].max()


def test_links_join_every_two_neighbours_once_and_equal_colours_most():
    colours = torch.zeros(1, 3, 8, 8)
    colours[:, :, :, 4:] = 1
    names = torch.arange(64).view(1, 8, 8)
    seen = [
        tuple(sorted(pair))
        for here, there, _ in _links(colours, 1.0)
        for pair in zip(names[here].flatten().tolist(), names[there].flatten().tolist())
    ]
    assert len(seen) == len(set(seen)) and (0, 1) in seen and (0, 9) in seen and (1, 8) in seen and (0, 4) in seen
    _, _, weight = _links(colours, 1.0)[0]
    assert weight[0, 0, 0] == 1 and weight[0, 0, 3] < 0.3
