"""BLIP's image-text matching (Li et al., 2022) through transformers, as a VisionLanguageModel and as text embeddings."""

from pathlib import Path

import torch
from torch import Tensor, nn

from models.vision_language.fusion_bert import attention_bias
from models.vision_language.interface import UnknownModel
from structures.errors import UserError


class NoLanguageHead(UserError):
    """What only a model with a masked-language head can do."""


class Blip(nn.Module):
    """transformers' BlipForImageTextRetrieval; every text layer has cross-attention.

    image_size: pixels, a multiple of the patch; position embeddings are resized to it.
    """

    image_mean = (0.48145466, 0.4578275, 0.40821073)
    image_std = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, network, image_size: int):
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
        """Multimodal hidden states and the kept cross-attention weights, as VisionLanguageModel has it."""
        bias, kept, x = attention_bias(attention_mask, text.dtype), {}, text
        layers = self.network.text_encoder.encoder.layer
        for i in self.fusion_layers:
            watched = layers[i].crossattention.self.dropout if i in keep else None
            handle = watched and watched.register_forward_hook(lambda _, __, weights, i=i: _kept(kept, i, weights))
            try:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not (keep and i < min(keep))):
                    x = layers[i](x, encoder_hidden_states=image, attention_mask=bias)
            finally:
                if handle:
                    handle.remove()
        return x, kept

    def match_logits(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, 2]; index 1 is a match."""
        return self.network.itm_head(fused[:, 0])

    def token_log_probs(self, fused: Tensor) -> Tensor:
        raise NoLanguageHead("BLIP's matching model has no masked-language head: set gradcam.score to itm")


def _kept(kept: dict[int, Tensor], i: int, weights: Tensor) -> Tensor:
    """Note a layer's attention weights as it hands them on; what a hook returns takes their place."""
    kept[i] = weights if weights.requires_grad else weights.detach().requires_grad_()
    return kept[i]


def _network(weights: Path, options):
    from transformers import BertTokenizerFast, BlipForImageTextRetrieval

    try:
        network = BlipForImageTextRetrieval.from_pretrained(weights, local_files_only=True)
        tokenizer = BertTokenizerFast.from_pretrained(weights, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UnknownModel(f"{weights} is no folder of a BLIP matching model (blip-itm-base-coco): {error}") from error
    tokenizer.model_max_length = options.max_tokens
    return network.eval().requires_grad_(False), tokenizer


def load(weights: Path, tokens: Path | None, options) -> tuple[Blip, object]:
    """See models.vision_language.interface. weights: a folder as transformers saves it."""
    network, tokenizer = _network(weights, options)
    patch = network.config.vision_config.patch_size
    if options.image_size % patch:
        raise UnknownModel(f"image_size {options.image_size} is no multiple of {patch}, the patches of {weights}")
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    return Blip(network.to(dtype), options.image_size), tokenizer


def load_text(weights: Path, tokens: Path | None, options):
    """See models.vision_language.interface: BLIP's own text projection."""
    network, tokenizer = _network(weights, options)

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
        hidden = network.text_encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return network.text_proj(hidden[:, 0]).float()

    return embed
