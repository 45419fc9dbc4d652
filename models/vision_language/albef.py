"""ALBEF (Li et al., 2021): image encoder, text encoder, fusion layers and heads, with the published tensor names.

A VisionLanguageModel (models/vision_language/interface.py): the one that both papers' pseudo-labels come from.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from models.vision_language.albef_checkpoint import CheckpointError, check_fit, published_sizes, read_checkpoint
from models.vision_language.fusion_bert import BertModel, MaskedLanguageHead
from models.vision_language.tokens import encode, read_tokenizer
from models.vision_language.vit import VisionTransformer, resize_position_embeddings

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


class _TextEncoder(nn.Module):
    def __init__(self, bert: BertModel, head: MaskedLanguageHead | None):
        super().__init__()
        self.bert = bert
        self.cls = head


class ALBEF(nn.Module):
    """The whole network.

    image_cls_visible: False closes the image's [CLS] token to cross-attention (the published model leaves it open);
    a model must be used as it was trained.
    """

    image_mean, image_std = IMAGE_MEAN, IMAGE_STD

    def __init__(
        self,
        *,
        image_size: int,
        patch: int,
        vision_width: int,
        vision_layers: int,
        vision_heads: int,
        vision_hidden: int,
        vocabulary: int,
        positions: int,
        text_width: int,
        text_layers: int,
        fusion_layer: int,
        text_heads: int,
        text_hidden: int,
        projection: int,
        masked_language: bool = True,
        image_cls_visible: bool = True,
    ):
        super().__init__()
        self.image_cls_visible = image_cls_visible
        self._vision_dtype: torch.dtype | None = None
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.visual_encoder = VisionTransformer(
            image_size=image_size,
            patch=patch,
            width=vision_width,
            depth=vision_layers,
            heads=vision_heads,
            hidden=vision_hidden,
        )
        bert = BertModel(
            vocabulary=vocabulary,
            positions=positions,
            width=text_width,
            layers=text_layers,
            fusion_layer=fusion_layer,
            heads=text_heads,
            hidden=text_hidden,
            image_width=vision_width,
        )
        self.text_encoder = _TextEncoder(bert, MaskedLanguageHead(text_width, vocabulary) if masked_language else None)
        self.vision_proj = nn.Linear(vision_width, projection)
        self.text_proj = nn.Linear(text_width, projection)
        self.itm_head = nn.Linear(text_width, 2)

    def initialise(self) -> None:
        """Fresh weights for training from scratch: normal with deviation 0.02, and the masked-language decoder tied to
        the word embeddings, as BERT and ALBEF have it."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.text_encoder.cls is not None:
            decoder = self.text_encoder.cls.predictions.decoder
            decoder.weight = self.text_encoder.bert.embeddings.word_embeddings.weight

    @property
    def image_size(self) -> int:
        """Pixels along one side of an input image."""
        return self.visual_encoder.image_size

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.visual_encoder.grid

    @property
    def fusion_layers(self) -> range:
        """The layers that have cross-attention, counted over the whole BERT."""
        bert = self.text_encoder.bert
        return range(bert.fusion_layer, len(bert.encoder.layer))

    def encode_image(self, images: Tensor) -> Tensor:
        """[batch, 3, image_size, image_size], normalised by IMAGE_MEAN and IMAGE_STD, to [batch, 1 + grid^2, width]."""
        with torch.autocast(images.device.type, self._vision_dtype, enabled=self._vision_dtype is not None):
            return self.visual_encoder(images).to(self.itm_head.weight.dtype)

    def in_bf16(self) -> "ALBEF":
        """Compute the image encoder's products in bfloat16, sums as before: nearly all of the work, and no gradient passes
        it. What the maps are computed from stays float32; on a GPU, in the whole process, with TF32's 10 binary digits."""
        self._vision_dtype = torch.bfloat16
        torch.backends.cuda.matmul.allow_tf32 = True
        return self

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[batch, tokens] ids and 0/1 mask to the hidden states of the text layers, [batch, tokens, width]."""
        return self.text_encoder.bert.encode_text(input_ids, attention_mask)

    def fuse(
        self, text: Tensor, attention_mask: Tensor, image: Tensor, keep: tuple[int, ...] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Multimodal hidden states [batch, tokens, width], and for each layer in `keep` its cross-attention weights
        [batch, heads, tokens, 1 + grid^2]; see BertModel.fuse."""
        image_mask = torch.ones(image.shape[:2], device=image.device)
        if not self.image_cls_visible:
            image_mask[:, 0] = 0
        return self.text_encoder.bert.fuse(text, attention_mask, image, image_mask, keep)

    def match_logits(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, 2]; index 1 says that image and text belong together."""
        return self.itm_head(fused[:, 0])

    def token_log_probs(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to log-probabilities [batch, tokens, vocabulary] of the masked-language head."""
        if self.text_encoder.cls is None:
            raise CheckpointError(
                "these weights have no masked-language head (a fine-tuned ALBEF drops it): set gradcam.score to itm"
            )
        return self.text_encoder.cls(fused).log_softmax(-1)

    def image_features(self, image: Tensor) -> Tensor:
        """Normalised projection of the image's [CLS] token, [batch, projection]."""
        return F.normalize(self.vision_proj(image[:, 0]), dim=-1)

    def text_features(self, text: Tensor) -> Tensor:
        """Normalised projection of the text's [CLS] token, [batch, projection]."""
        return F.normalize(self.text_proj(text[:, 0]), dim=-1)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        image_size: int | None = None,
        vision_heads: int = 12,
        text_heads: int = 12,
        dtype: torch.dtype | None = None,
    ) -> "ALBEF":
        """Read published or fine-tuned weights (.pth, or .safetensors), in evaluation mode.

        Sizes are read off the tensors; momentum copies and queues are left out; `text_encoder.` without `bert.` is
        taken. image_size: pixels, to which position embeddings are resized; None for the size that the weights have.
        Heads can't be read off the tensors: a .safetensors file of this project says them (and image_cls_visible) in
        its metadata, which then wins over the arguments. A file without a masked-language head gives a model without
        one. dtype: of the weights, None as in the file, whose pages are then used as they lie on the disk: loading
        takes no memory.

        Raises CheckpointError with the list of tensors that are missing, unknown or ill-shaped.
        """
        tensors, settings = read_checkpoint(Path(path))
        sizes = published_sizes(tensors, path)
        sizes |= {"vision_heads": vision_heads, "text_heads": text_heads, **settings}
        if image_size is not None:
            sizes["image_size"] = image_size
        try:
            pos_embed = tensors["visual_encoder.pos_embed"]
            tensors["visual_encoder.pos_embed"] = resize_position_embeddings(
                pos_embed, sizes["image_size"] // sizes["patch"]
            )
            tensors.setdefault(
                "text_encoder.bert.embeddings.position_ids", torch.arange(sizes["positions"]).unsqueeze(0)
            )
            tensors.setdefault("temp", torch.tensor(0.07))
            with torch.device("meta"):
                model = cls(**sizes)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{path} is no ALBEF checkpoint, or of other heads than the configuration says: no network has its sizes ({why})"
            ) from error
        check_fit(model.state_dict(), tensors, path)
        if dtype is not None:
            tensors = {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
            }
        model.load_state_dict(tensors, assign=True)
        return model.eval().requires_grad_(False)


def _tokenizer(model: ALBEF, weights: Path, tokens: Path | None, max_tokens: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a model. Raises CheckpointError where the model has other word pieces, or fewer positions than a
    sentence has tokens."""
    tokenizer = read_tokenizer(weights, tokens, max_tokens)
    embeddings = model.text_encoder.bert.embeddings
    known, positions = len(embeddings.word_embeddings.weight), len(embeddings.position_embeddings.weight)
    if len(tokenizer) > known:
        raise CheckpointError(
            f"{tokens or weights} holds {len(tokenizer)} word pieces, {weights} knows {known}: name the vocab.txt that "
            "belongs to it"
        )
    if max_tokens > positions:
        raise CheckpointError(f"max_tokens is {max_tokens}, {weights} has positions for {positions}")
    return tokenizer


def load(
    weights: Path,
    tokens: Path | None,
    *,
    image_size: int,
    max_tokens: int,
    precision: str,
    vision_heads: int = 12,
    text_heads: int = 12,
) -> tuple[ALBEF, PreTrainedTokenizerFast]:
    """See models.vision_language.interface. weights: ALBEF.pth, a fine-tuned sibling, or this project's .safetensors;
    precision: of the image encoder; vision_heads, text_heads: attention heads, unless the weights say."""
    model = ALBEF.from_checkpoint(weights, image_size, vision_heads, text_heads, torch.float32)
    if precision == "bf16":
        model.in_bf16()
    return model, _tokenizer(model, weights, tokens, max_tokens)


def load_text(
    weights: Path,
    tokens: Path | None,
    *,
    max_tokens: int,
    precision: str,
    vision_heads: int = 12,
    text_heads: int = 12,
) -> Callable[[list[str]], Tensor]:
    """See models.vision_language.interface: ALBEF's own text projection. vision_heads, text_heads: as for load."""
    model = ALBEF.from_checkpoint(weights, None, vision_heads, text_heads, torch.float32)
    tokenizer = _tokenizer(model, weights, tokens, max_tokens)

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        ids, mask, _ = encode(tokenizer, sentences)
        return model.text_features(model.encode_text(ids, mask)).float()

    return embed
