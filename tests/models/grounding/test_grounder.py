"""Maps of pairs do not depend on their neighbours."""

import numpy as np
import pytest
import torch

from models.grounding.grounder import Grounder, encoder_batch
from models.grounding.pairs import Pair
from models.vision_language.albef import ALBEF
from models.vision_language.tokens import read_tokenizer
from store.fingerprint import ROOT

WEIGHTS = ROOT / "data" / "weights" / "albef_toy.safetensors"


@pytest.fixture(scope="module")
def model():
    return ALBEF.from_checkpoint(WEIGHTS, 96).float()


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(WEIGHTS, None, 32)


def test_a_pairs_map_is_the_same_bytes_whatever_its_neighbours(model, tokenizer):
    rng = np.random.default_rng(0)
    texts = ["two cats near a cup.", "a bus in the snow", "a man with an umbrella and a banana"] * 4
    nouns = ["cats", "bus", "umbrella"] * 4
    pairs = [
        Pair(str(i), noun, str(i), text, ((text.index(noun), text.index(noun) + len(noun)),), image)
        for i, (text, noun) in enumerate(zip(texts, nouns))
        for image in [torch.from_numpy(rng.integers(0, 255, (3, 96, 96), dtype=np.uint8))]
    ]
    options = {"layers": [2, 3], "score": "mlm", "masking": "pair", "iterations": 3, "threshold": 0.5, "device": "cpu"}

    def maps(chosen, batch):
        grounder = Grounder(model, tokenizer, batch=batch, **options)
        return {pair.image_id: of_pair for pair, of_pair, _ in grounder.ground((p, grounder.tokens(p)) for p in chosen)}

    whole = maps(pairs, 16)
    for chosen, batch in ((pairs[::-1], 16), (pairs[3:5], 16), (pairs, 8), (pairs, 32)):
        for image_id, of_pair in maps(chosen, batch).items():
            np.testing.assert_array_equal(of_pair.astype(np.float16), whole[image_id].astype(np.float16))


@pytest.mark.parametrize("masking", ["pair", "image"])
def test_pairs_that_share_a_picture_have_the_maps_of_their_own_copies(model, tokenizer, masking):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 96, 96), dtype=np.uint8))
    text = "two cats near a cup and a bus"
    nouns = ["bus", "cats", "cup"]
    shared = [Pair("1", noun, "1", text, ((text.index(noun), text.index(noun) + len(noun)),), image) for noun in nouns]
    options = {"layers": [2, 3], "score": "mlm", "masking": masking, "iterations": 2, "threshold": 0.5, "device": "cpu"}
    grounder = Grounder(model, tokenizer, batch=8, **options)

    def maps(pairs):
        return np.stack([of_pair for _, of_pair, _ in grounder.ground((p, grounder.tokens(p)) for p in pairs)])

    together, apart = maps(shared), np.concatenate([maps([pair]) for pair in shared])
    np.testing.assert_allclose(together[:, 0], apart[:, 0], atol=1e-6)
    same = np.allclose(together[:, 1], apart[:, 1], atol=1e-6)
    assert same == (masking == "pair")


def test_a_gpu_encodes_a_whole_batch_at_once_and_a_processor_a_quarter(model, tokenizer, monkeypatch):
    assert [encoder_batch(batch, device) for batch, device in ((16, "cuda"), (16, "cpu"), (2, "cpu"))] == [16, 4, 1]
    image, text = torch.zeros(3, 96, 96, dtype=torch.uint8), "a bus and a cup"
    pair, sizes, encode_image = Pair("1", "bus", "1", text, ((2, 5),), image), set(), model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda images: sizes.add(len(images)) or encode_image(images))
    options = {"layers": [2, 3], "score": "itm", "masking": "pair", "iterations": 2, "threshold": 0.5}
    grounder = Grounder(model, tokenizer, batch=16, device="cpu", **options)
    assert len(list(grounder.ground([(pair, grounder.tokens(pair))]))) == 1
    assert sizes == {4}


@pytest.mark.parametrize("masking", ["pair", "image"])
def test_mirrored_maps_are_the_mean_of_both_ways_and_mirror_with_the_picture(model, tokenizer, masking):
    rng = np.random.default_rng(0)
    text = "two cats near a cup and a bus"
    spans = {noun: ((text.index(noun), text.index(noun) + len(noun)),) for noun in ("bus", "cats", "cup")}
    options = {"layers": [2, 3], "score": "mlm", "masking": masking, "iterations": 2, "threshold": 0.5, "device": "cpu"}
    grounder = Grounder(model, tokenizer, batch=8, **options)
    images = {name: torch.from_numpy(rng.integers(0, 255, (3, 96, 96), dtype=np.uint8)) for name in ("1", "1 mirrored")}

    def marked(flip: bool):
        for name, image in images.items():
            image = image.flip(-1) if flip else image
            pairs = [Pair(name, noun, "1", text, span, image) for noun, span in spans.items()]
            yield [(pair, grounder.tokens(pair)) for pair in pairs]

    plain, flipped = ([m for of_image in marked(f) for _, m, _ in grounder.ground(of_image)] for f in (False, True))
    both, both_of_flipped = (list(grounder.ground_mirrored(marked(flip))) for flip in (False, True))
    assert [(pair.image_id, pair.category) for pair, *_ in both] == [(name, noun) for name in images for noun in spans]
    for (_, maps, logits, alike), (_, other, _, alike_flipped), one, mirror in zip(
        both, both_of_flipped, plain, flipped
    ):
        mean = (one + mirror[..., ::-1]) / 2
        np.testing.assert_allclose(maps, mean / mean.max((1, 2), keepdims=True), atol=1e-5)
        np.testing.assert_allclose(maps, other[..., ::-1], atol=1e-5)
        assert logits.shape == (2,)
        pairs = list(zip(one.ravel().tolist(), mirror[..., ::-1].ravel().tolist()))
        assert 0 < alike < 1 and alike == pytest.approx(alike_flipped, abs=1e-5)
        assert alike == pytest.approx(sum(map(min, pairs)) / sum(map(max, pairs)), abs=1e-5)


def test_a_picture_that_is_its_own_mirror_image_is_compared_with_itself(model, tokenizer):
    half = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 96, 48), dtype=np.uint8))
    pair = Pair("1", "bus", "1", "a bus", ((2, 5),), torch.cat([half, half.flip(-1)], 2))
    options = {"layers": [2, 3], "score": "itm", "masking": "pair", "iterations": 2, "threshold": 0.5, "device": "cpu"}
    grounder = Grounder(model, tokenizer, batch=2, **options)
    [(_, maps, _)] = grounder.ground([(pair, grounder.tokens(pair))])
    [(_, _, _, alike)] = grounder.ground_mirrored([[(pair, grounder.tokens(pair))]])
    own = np.minimum(maps, maps[..., ::-1]).sum() / np.maximum(maps, maps[..., ::-1]).sum()
    assert alike == pytest.approx(own, abs=1e-5)
