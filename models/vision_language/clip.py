"""CLIP's text encoder (Radford et al., 2021) through transformers: the embeddings of Mask-free OVIS's detector."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.vision_language.pretrained import read_pretrained

MAX_TOKENS = 77  # CLIP's positions


def load_text(weights: Path, tokens: Path | None, *, max_tokens: int, precision: str) -> Callable[[list[str]], Tensor]:
    """See models.vision_language.interface: CLIP's projected text features. weights: a folder as transformers saves
    it. A sentence is cut at CLIP's own 77 tokens, not at max_tokens."""
    from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

    what = "CLIP model (clip-vit-base-patch32)"
    network, tokenizer = read_pretrained(CLIPTextModelWithProjection, CLIPTokenizerFast, weights, what)
    network = network.float()

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        return network(batch["input_ids"], attention_mask=batch["attention_mask"]).text_embeds

    return embed
