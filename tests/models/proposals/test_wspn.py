"""The proposal network: Eq. 5 by hand, and a toy that it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.proposals.wspn import WSPN, classification_loss, proposal_weights, propose, pseudo_targets, regression_loss


def test_proposal_weights_by_hand():
    weights = proposal_weights(torch.tensor([[0.0, 0.0], [0.0, float(np.log(3.0))]]), torch.zeros(2, 2))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.25], [0.125, 0.375]]))
    loss = classification_loss(weights, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(-np.log(0.375) - np.log(1 - 0.625), rel=1e-5)


def test_low_scoring_boxes_are_regressed_toward_the_best_that_they_overlap():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 60, 60], [50, 50, 59, 60], [80, 80, 90, 90.0]])
    weights = torch.tensor([[0.9, 0], [0.5, 0], [0.6, 0], [0.1, 0], [0.05, 0.9]])
    index = pseudo_targets(boxes, weights, torch.tensor([1.0, 0.0]), per_category=2, overlap=0.5)
    assert index.tolist() == [-1, 0, -1, 2, -1]
    assert regression_loss(boxes, torch.zeros(5, 4), index) > 0
    assert regression_loss(boxes, torch.zeros(5, 4), torch.full((5,), -1)) == 0


def test_proposals_stay_inside_and_come_best_first():
    torch.manual_seed(0)
    boxes = torch.tensor([[0, 0, 20, 20], [10, 10, 40, 40], [12, 11, 40, 41], [30, 0, 48, 30.0]])
    detection = torch.tensor([[0.0, 1], [3, 2], [1, 1], [2, 3]])
    options = {"height": 48, "width": 48, "rank": "mean", "nms_iou": 0.5, "top_k": 3}
    proposals, scores = propose(boxes, detection, torch.randn(4, 4), **options)
    assert (proposals >= 0).all() and (proposals <= 48).all() and (scores.diff() <= 0).all() and len(proposals) <= 3


def test_proposals_are_ranked_by_their_largest_share_of_a_category_or_by_their_mean_share():
    boxes = torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30.0]])
    shares = torch.tensor([[0.9, 0.01, 0.01], [0.05, 0.5, 0.5], [0.05, 0.49, 0.49]])  # of three categories
    options = {"height": 48, "width": 48, "nms_iou": 0.5, "top_k": 3}
    proposals, scores = propose(boxes, shares.log(), torch.zeros(3, 4), rank="largest", **options)
    torch.testing.assert_close((proposals, scores), (boxes, torch.tensor([0.9, 0.5, 0.49])))
    proposals, scores = propose(boxes, shares.log(), torch.zeros(3, 4), rank="mean", **options)
    torch.testing.assert_close((proposals, scores), (boxes[[1, 2, 0]], shares.prod(1)[[1, 2, 0]] ** (1 / 3)))
    with pytest.raises(ValueError, match="largest or mean"):
        propose(boxes, shares, torch.zeros(3, 4), rank="first", **options)


def test_wspn_learns_where_a_named_object_is():
    torch.manual_seed(0)
    model = WSPN(backbone="small", categories=2, hidden=32, min_size=64, frozen=False)
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
    best = [proposal_weights(c, d)[:, k].argmax().item() for (c, d, _), k in zip(outputs, which)]
    assert best == where.tolist()
