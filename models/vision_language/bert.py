"""BERT's input embeddings, averaged over a name's word pieces (XPM, 4: word embeddings from BERT)."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.vision_language.pretrained import read_pretrained


def load_text(weights: Path, tokens: Path | None, *, max_tokens: int, precision: str) -> Callable[[list[str]], Tensor]:
    """See models.vision_language.interface; names go in as they are, so the prompts should be ["{}"]. weights: a folder
    as transformers saves it (bert-base-uncased). No network runs, so max_tokens and precision play no part."""
    from transformers import BertModel, BertTokenizerFast

    network, tokenizer = read_pretrained(BertModel, BertTokenizerFast, weights, "BERT model (bert-base-uncased)")
    words = network.get_input_embeddings().weight.detach().float()

    def embed(sentences: list[str]) -> Tensor:
        pieces = tokenizer(sentences, add_special_tokens=False)["input_ids"]
        return torch.stack([words[ids].mean(0) for ids in pieces])

    return embed
