"""CLIP's text encoder (Radford et al., 2021) through transformers: the embeddings of Mask-free OVIS's detector."""

from pathlib import Path

import torch
from torch import Tensor

from models.vision_language.interface import UnknownModel


def load_text(weights: Path, tokens: Path | None, options):
    """See models.vision_language.interface: CLIP's projected text features. weights: a folder as transformers saves it."""
    from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

    try:
        network = CLIPTextModelWithProjection.from_pretrained(weights, local_files_only=True).eval().float()
        tokenizer = CLIPTokenizerFast.from_pretrained(weights, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UnknownModel(f"{weights} is no folder of a CLIP model (clip-vit-base-patch32): {error}") from error

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, max_length=77, return_tensors="pt")
        return network(batch["input_ids"], attention_mask=batch["attention_mask"]).text_embeds

    return embed
