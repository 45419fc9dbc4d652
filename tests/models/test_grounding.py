"""Activation maps, nouns' tokens, and the choice of boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.albef import ALBEF
from models.boxes import activation_sums, covered_share, select_boxes
from models.gradcam import gradcam, gradcam_encoded, iterative_gradcam, mask_activated, normalise, union
from models.grounding import Grounder
from models.text import encode, read_tokenizer, tokenizer_from, tokens_of_span
from sources.pairs import Pair
from store.fingerprint import ROOT

WEIGHTS = ROOT / "data" / "weights" / "albef_toy.safetensors"
DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def model():
    return ALBEF.from_checkpoint(WEIGHTS, 96).float()


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(WEIGHTS, None, 32)


def test_gradient_at_one_layer_equals_a_full_backward_pass():
    tiny = ALBEF.from_checkpoint(DATA / "albef_tiny.pth", 64, 4, 4).requires_grad_(True)
    golden = np.load(DATA / "albef_tiny.npz")
    images, ids, mask = (torch.from_numpy(golden[name]) for name in ("image", "input_ids", "attention_mask"))
    image, text = tiny.encode_image(images), tiny.encode_text(ids, mask)
    fused, weights = tiny.fuse(text, mask, image, keep=(2, 3))
    score = tiny.match_logits(fused)[:, 1].sum()
    wanted = 0
    for layer in (2, 3):
        (gradient,) = torch.autograd.grad(score, weights[layer], retain_graph=True)
        wanted = wanted + (weights[layer] * gradient.clamp(min=0)).mean(1)
    wanted = (wanted[..., 1:] * mask[..., None]).unflatten(-1, (4, 4)).detach()
    torch.testing.assert_close(gradcam(tiny, images, ids, mask, (2, 3)), wanted)


def test_the_match_logit_has_no_gradient_at_nouns_in_the_last_layer(model):
    ids, mask = torch.randint(5, 60, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    maps, _ = gradcam_encoded(model, model.encode_image(torch.randn(2, 3, 96, 96)), ids, mask, 3)
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


def test_union_never_shrinks():
    maps = torch.rand(5, 3, 4, 4)
    assert (union(maps) >= maps[:, 0]).all()


def test_pairs_of_an_image_are_masked_alone_or_together(model):
    images = torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    ids, mask = torch.randint(5, 60, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    nouns = torch.zeros(2, 8, dtype=torch.bool)
    nouns[0, 2], nouns[1, 5] = True, True
    options = {"layers": (2, 3), "score": "mlm", "mask_id": 4, "iterations": 2}
    apart, _ = iterative_gradcam(model, images, ids, mask, nouns, **options)
    together, _ = iterative_gradcam(model, images, ids, mask, nouns, groups=torch.tensor([0, 0]), **options)
    one, _ = iterative_gradcam(model, images, ids, mask, nouns, groups=torch.tensor([0, 1]), **options)
    torch.testing.assert_close(apart[:, 0], together[:, 0])
    assert not torch.allclose(apart[:, 1], together[:, 1])
    torch.testing.assert_close(apart, one)


def test_a_pairs_map_is_the_same_bytes_whatever_its_neighbours(model, tokenizer):
    rng = np.random.default_rng(0)
    texts = ["two cats near a cup.", "a bus in the snow", "a man with an umbrella and a banana"] * 4
    nouns = ["cats", "bus", "umbrella"] * 4
    pairs = [
        Pair(str(i), noun, str(i), text, ((text.index(noun), text.index(noun) + len(noun)),), image)
        for i, (text, noun) in enumerate(zip(texts, nouns))
        for image in [rng.integers(0, 255, (128, 160, 3), dtype=np.uint8)]
    ]
    options = {"layers": [2, 3], "score": "mlm", "masking": "pair", "iterations": 3, "threshold": 0.5, "device": "cpu"}

    def maps(chosen, batch):
        grounder = Grounder(model, tokenizer, batch=batch, **options)
        return {pair.image_id: found for pair, found, _ in grounder.ground((p, grounder.tokens(p)) for p in chosen)}

    whole = maps(pairs, 16)
    for chosen, batch in ((pairs[::-1], 16), (pairs[3:5], 16), (pairs, 8), (pairs, 32)):
        for image_id, found in maps(chosen, batch).items():
            np.testing.assert_array_equal(found.astype(np.float16), whole[image_id].astype(np.float16))


def test_spans_become_all_word_pieces_of_the_noun(tokenizer):
    text = "two cats, a kitten"
    ids, mask, [offsets] = encode(tokenizer, [text])
    found = [tokenizer.convert_ids_to_tokens(int(ids[0, i])) for i in tokens_of_span(offsets, 4, 8)]
    assert found == ["cat", "##s"]
    assert ids.shape == (1, 32) and mask.sum() == 8
    assert tokens_of_span(offsets, 40, 44) == []


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"lacks \[PAD\]"):
        tokenizer_from(["cat"], 8)


@pytest.mark.parametrize("shape", [(4, 4), (12, 12), (5, 7)])
def test_activation_sums_equal_a_sum_over_pixels(shape):
    rng = np.random.default_rng(1)
    height, width = shape[0] * 6, shape[1] * 9
    grid = rng.random(shape)
    pixels = np.kron(grid, np.ones((6, 9)))
    corners = np.sort(rng.integers(0, [width, height], (40, 2, 2)), axis=1)
    boxes = corners.reshape(40, 4)
    wanted = [pixels[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in boxes]
    np.testing.assert_allclose(activation_sums(grid, boxes, height, width), wanted, atol=1e-9)


def test_the_box_of_equation_6_beats_every_other():
    rng = np.random.default_rng(2)
    grid = rng.random((8, 8)) ** 4
    boxes = np.array([(x, y, x + w, y + w) for x in (0, 16, 40) for y in (0, 24, 48) for w in (16, 32)], np.float32)
    pixels = np.kron(grid, np.ones((10, 10)))
    scores = [
        pixels[int(y0) : int(y1), int(x0) : int(x1)].sum() / np.sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes
    ]
    [(best, score, share)] = select_boxes(grid, boxes, height=80, width=80)
    assert best == int(np.argmax(scores)) and score == pytest.approx(max(scores), rel=1e-6)
    assert 0 < share < 1


def test_a_second_instance_takes_the_activation_that_is_left():
    grid = np.zeros((8, 8))
    grid[1:3, 1:3], grid[5:7, 5:7] = 1.0, 0.8
    boxes = np.array([[10, 10, 30, 30], [50, 50, 70, 70], [0, 0, 80, 80], [11, 11, 31, 31]], np.float32)
    chosen = select_boxes(grid, boxes, height=80, width=80, instances=3, min_share=0.2)
    assert [index for index, _, _ in chosen] == [0, 1]
    assert sum(share for _, _, share in chosen) == pytest.approx(1)


def test_no_activation_no_box():
    assert select_boxes(np.zeros((4, 4)), np.array([[0, 0, 9, 9]], np.float32), height=9, width=9) == []


def test_covered_share_counts_parts_of_cells():
    share = covered_share((2, 2), np.array([5, 0, 15, 10]), 20, 20)
    assert share.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_weights_say_how_they_were_made():
    from safetensors import safe_open

    with safe_open(WEIGHTS, "pt") as file:
        settings = json.loads(file.metadata()["albef"])
    assert settings == {"vision_heads": 4, "text_heads": 4, "image_cls_visible": False}
