"""GradCAM and iterative masking against full backward passes and by hand."""

import numpy as np
import pytest
import torch

from models.grounding.gradcam import gradcam, gradcam_encoded, iterative_gradcam, mask_activated, normalise
from models.vision_language.albef import ALBEF
from store.fingerprint import ROOT

WEIGHTS = ROOT / "data" / "weights" / "albef_toy.safetensors"


DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def model():
    return ALBEF.from_checkpoint(WEIGHTS, 96).float()


def test_gradient_at_one_layer_equals_a_full_backward_pass():
    tiny = ALBEF.from_checkpoint(DATA / "albef_tiny.pth", 64, 4, 4).requires_grad_(True)
    golden = np.load(DATA / "albef_tiny.npz")
    images, ids, mask = (torch.from_numpy(golden[name]) for name in ("image", "input_ids", "attention_mask"))
    image, text = tiny.encode_image(images), tiny.encode_text(ids, mask)
    fused, weights = tiny.fuse(text, mask, image, keep=(2, 3))
    score = tiny.match_logits(fused)[:, 1].sum()
    expected = 0
    for layer in (2, 3):
        (gradient,) = torch.autograd.grad(score, weights[layer], retain_graph=True)
        expected = expected + (weights[layer] * gradient.clamp(min=0)).mean(1)
    expected = (expected[..., 1:] * mask[..., None]).unflatten(-1, (4, 4)).detach()
    torch.testing.assert_close(gradcam(tiny, images, ids, mask, (2, 3)), expected)


def test_the_match_logit_has_no_gradient_at_nouns_in_the_last_layer(model):
    ids, mask = torch.randint(5, 60, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    maps, _ = gradcam_encoded(
        model, model.encode_image(torch.randn(2, 3, 96, 96)), model.encode_text(ids, mask), mask, 3
    )
    assert maps[:, 1:].abs().max() == 0 and maps[:, 0].abs().max() > 0


def test_a_layer_without_cross_attention_is_refused(model):
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"cross-attention is in layers \[2, 3\]"):
        gradcam(model, torch.zeros(1, 3, 96, 96), ids, ids, 8)


def test_normalised_maps_span_zero_to_one_and_a_flat_one_is_zero():
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert normalise(maps).tolist() == [[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]


def test_masking_fills_activated_cells_with_the_image_mean():
    image = torch.arange(3 * 4 * 4, dtype=torch.float32).view(1, 3, 4, 4)
    masked = mask_activated(image, torch.tensor([[[1.0, 0.5], [0.0, 0.0]]]), 0.5)
    assert torch.equal(masked[0, :, :2, :2], image.mean((-2, -1))[0][:, None, None].expand(3, 2, 2))
    assert torch.equal(masked[0, :, 2:], image[0, :, 2:]) and torch.equal(masked[0, :, :, 2:], image[0, :, :, 2:])


def test_pairs_of_an_image_are_masked_alone_or_together(model):
    images = torch.randn(2, 3, 96, 96)
    images[1] = images[0]
    both, one = torch.tensor([0, 0]), torch.tensor([0, 1])
    ids, mask = torch.randint(5, 60, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    nouns = torch.zeros(2, 8, dtype=torch.bool)
    nouns[0, 2], nouns[1, 5] = True, True
    options = {"layers": (2, 3), "score": "mlm", "mask_id": 4, "iterations": 2}
    apart, _ = iterative_gradcam(model, images[:1], both, ids, mask, nouns, **options)
    copies, _ = iterative_gradcam(model, images, one, ids, mask, nouns, chunk=1, **options)
    torch.testing.assert_close(apart, copies)
    together, _ = iterative_gradcam(model, images[:1], both, ids, mask, nouns, together=True, **options)
    torch.testing.assert_close(apart[:, 0], together[:, 0])
    assert not torch.allclose(apart[:, 1], together[:, 1])
    masked_together, _ = iterative_gradcam(model, images, one, ids, mask, nouns, together=True, **options)
    torch.testing.assert_close(masked_together, copies)


def test_maps_of_an_image_encoder_in_bfloat16_stay_within_one_percent():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 168, 168, generator=generator)
    ids = torch.randint(5, 60, (8, 20), generator=generator)
    maps = [
        gradcam(model, images, ids, torch.ones_like(ids), (2, 3))
        for model in (
            ALBEF.from_checkpoint(WEIGHTS, 168).float(),
            ALBEF.from_checkpoint(WEIGHTS, 168).float().in_bf16(),
        )
    ]
    assert 0 < (maps[0] - maps[1]).norm() < 0.01 * maps[0].norm()
