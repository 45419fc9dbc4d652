"""BERT WordPiece tokens of captions, and which of them a span of characters became."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor
from transformers import BertTokenizerFast

from structures.errors import UserError


def tokenizer_from(vocabulary: list[str], max_tokens: int) -> BertTokenizerFast:
    """transformers' BERT WordPiece tokenizer (lower case) over word pieces in the order of their ids.

    Raises ValueError where one of BERT's special tokens is missing.
    """
    table = {word: i for i, word in enumerate(vocabulary)}
    missing = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token not in table]
    if missing:
        raise ValueError(f"the vocabulary lacks {', '.join(missing)}: is it a BERT vocab.txt?")
    return BertTokenizerFast(vocab=table, do_lower_case=True, model_max_length=max_tokens)


class VocabularyMissing(UserError):
    """No word pieces come with the weights, and no file of them was named."""


def read_tokenizer(weights: Path, vocabulary: Path | None, max_tokens: int) -> BertTokenizerFast:
    """The tokenizer of a checkpoint: from a vocab.txt, or from the metadata of this project's own weights. Raises
    VocabularyMissing naming the file that is none."""
    source = vocabulary or weights
    try:
        if vocabulary is not None:
            return tokenizer_from(Path(vocabulary).read_text(encoding="utf-8").split("\n"), max_tokens)
        if Path(weights).suffix == ".safetensors":
            with safe_open(weights, framework="pt") as file:
                words = json.loads((file.metadata() or {}).get("cap2mask", "{}")).get("vocabulary")
            if words:
                return tokenizer_from(words, max_tokens)
    except Exception as error:  # what is no text, no list, or no word pieces breaks their readers in many ways
        why = " ".join(str(error).split())[:200]
        raise VocabularyMissing(
            f"{source} holds no BERT word pieces ({why}): name the vocab.txt of bert-base-uncased"
        ) from error
    raise VocabularyMissing(
        f"{weights} holds no word pieces: point the config key tokens at the vocab.txt of bert-base-uncased (232 kB)"
    )


def encode(tokenizer, texts: list[str]) -> tuple[Tensor, Tensor, list[list[tuple[int, int]]]]:
    """Captions to ids and 0/1 mask, both [batch, max_tokens] int64, and each token's (start, end) characters.

    Always padded to max_tokens, so that a caption's numbers don't depend on its neighbours; longer ones are cut.
    """
    batch = tokenizer(texts, padding="max_length", truncation=True, return_offsets_mapping=True, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"], batch["offset_mapping"].tolist()


def tokens_of_span(offsets: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """The positions of the tokens that lie in characters start..end; empty where the tokenizer cut them away."""
    return [i for i, (a, b) in enumerate(offsets) if b > a and a < end and b > start]
