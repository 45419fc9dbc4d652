"""Word pieces of nouns."""

import pytest

from models.vision_language.tokens import encode, read_tokenizer, tokenizer_from, tokens_of_span
from store.fingerprint import ROOT

WEIGHTS = ROOT / "data" / "weights" / "albef_toy.safetensors"


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(WEIGHTS, None, 32)


def test_spans_become_all_word_pieces_of_the_noun(tokenizer):
    text = "two cats, a kitten"
    ids, mask, [offsets] = encode(tokenizer, [text])
    pieces = [tokenizer.convert_ids_to_tokens(int(ids[0, i])) for i in tokens_of_span(offsets, 4, 8)]
    assert pieces == ["cat", "##s"]
    assert ids.shape == (1, 32) and mask.sum() == 8
    assert tokens_of_span(offsets, 40, 44) == []


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"lacks \[PAD\]"):
        tokenizer_from(["cat"], 8)
