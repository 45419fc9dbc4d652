"""BLIP's image-text matching (Li et al., 2022) by transformers, as a VisionLanguageModel and as text embeddings."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from models.vision_language.fusion_bert import attention_bias
from models.vision_language.interface import ModelError
from models.vision_language.pretrained import read_pretrained
from structures.errors import UserError


class NoLanguageHead(UserError):
    """What only a model with a masked-language head can do."""


class Blip(nn.Module):
    """transformers' BlipForImageTextRetrieval; every text layer has cross-attention.

    image_size: pixels, a multiple of the patch; position embeddings are resized to it.
    """

    image_mean = (0.48145466, 0.4578275, 0.40821073)
    image_std = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, network: nn.Module, image_size: int):
        super().__init__()
        self.network, self.image_size = network, image_size
        self.grid = image_size // network.config.vision_config.patch_size
        self.fusion_layers = range(len(network.text_encoder.encoder.layer))

    def encode_image(self, images: Tensor) -> Tensor:
        """[batch, 3, image_size, image_size] to [batch, 1 + grid^2, width]."""
        images = images.to(self.network.dtype)
        return self.network.vision_model(images, interpolate_pos_encoding=True).last_hidden_state

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The embeddings of [batch, tokens] ids, [batch, tokens, width]: all layers see the image."""
        return self.network.text_encoder.embeddings(input_ids=input_ids)

    def fuse(
        self, text: Tensor, attention_mask: Tensor, image: Tensor, keep: tuple[int, ...] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Multimodal hidden states and the cross-attention weights of `keep`, as VisionLanguageModel has it."""
        bias, x = attention_bias(attention_mask, text.dtype), text
        weights: dict[int, Tensor] = {}

        def note(layer: int, probabilities: Tensor) -> Tensor:
            """Keep a layer's attention weights as it hands them on; what a hook returns takes their place."""
            watched = probabilities if probabilities.requires_grad else probabilities.detach().requires_grad_()
            weights[layer] = watched
            return watched

        layers = self.network.text_encoder.encoder.layer
        for i in self.fusion_layers:
            dropout = layers[i].crossattention.self.dropout if i in keep else None
            handle = dropout and dropout.register_forward_hook(lambda _, __, output, i=i: note(i, output))
            try:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not (keep and i < min(keep))):
                    x = layers[i](x, encoder_hidden_states=image, attention_mask=bias)
            finally:
                if handle:
                    handle.remove()
        return x, weights

    def match_logits(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, 2]; index 1 is a match."""
        return self.network.itm_head(fused[:, 0])

    def token_log_probs(self, fused: Tensor) -> Tensor:
        """Raises NoLanguageHead."""
        raise NoLanguageHead("BLIP's matching model has no masked-language head: set gradcam.score to itm")


def _network(weights: Path, max_tokens: int):
    """transformers' network in evaluation mode, and its tokenizer."""
    from transformers import BertTokenizerFast, BlipForImageTextRetrieval

    what = "BLIP matching model (blip-itm-base-coco)"
    network, tokenizer = read_pretrained(BlipForImageTextRetrieval, BertTokenizerFast, weights, what)
    tokenizer.model_max_length = max_tokens
    return network.requires_grad_(False), tokenizer


def load(
    weights: Path, tokens: Path | None, *, image_size: int, max_tokens: int, precision: str
) -> tuple[Blip, PreTrainedTokenizerFast]:
    """See models.vision_language.interface. weights: a folder as transformers saves it."""
    network, tokenizer = _network(weights, max_tokens)
    patch = network.config.vision_config.patch_size
    if image_size % patch:
        raise ModelError(f"image_size {image_size} is no multiple of {patch}, the patches of {weights}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Blip(network.to(dtype), image_size), tokenizer


def load_text(weights: Path, tokens: Path | None, *, max_tokens: int, precision: str) -> Callable[[list[str]], Tensor]:
    """See models.vision_language.interface: BLIP's own text projection."""
    network, tokenizer = _network(weights, max_tokens)

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
        hidden = network.text_encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return network.text_proj(hidden[:, 0]).float()

    return embed
