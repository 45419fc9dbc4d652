"""Pretraining objectives against closed forms."""

import pytest
import torch
import torch.nn.functional as F

from models.vision_language.losses import contrast, draw_negatives, mask_tokens


def test_contrast_is_cross_entropy_where_every_caption_is_of_one_image():
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    logits, target = image @ text.t() / 0.1, torch.arange(4)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    torch.testing.assert_close(contrast(image, text, torch.tensor(0.1), torch.eye(4, dtype=torch.bool)), expected)


def test_negatives_are_never_true_pairs():
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(16, 16, generator=generator) < 0.3
    allowed[3] = False
    for hardness in (0.0, 1.0):
        negatives = draw_negatives(torch.randn(16, 16, generator=generator), allowed, hardness, generator)
        rows = [i for i in range(16) if allowed[i].any()]
        assert allowed[rows, negatives[rows]].all() and negatives[3] == 4


def test_masked_tokens_are_as_many_and_of_the_kinds_that_bert_asks_for():
    ids = torch.randint(10, 50, (200, 50))
    chance = torch.full((200, 50), 0.2)
    chance[:, 0] = 0
    masked, labels = mask_tokens(ids, chance, 4, 50, torch.Generator().manual_seed(0))
    asked = labels >= 0
    assert not asked[:, 0].any() and asked[:, 1:].float().mean() == pytest.approx(0.2, abs=0.02)
    assert (masked[asked] == 4).float().mean() == pytest.approx(0.8, abs=0.03)
    assert torch.equal(masked[~asked], ids[~asked]) and torch.equal(labels[asked], ids[asked])
