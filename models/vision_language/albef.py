"""ALBEF (Li et al., 2021): image encoder, text encoder, fusion layers and heads, with the published tensor names.

A VisionLanguageModel (models/vision_language.py): the one that both papers' pseudo-labels come from.
"""

import json
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from models.vision_language.fusion_bert import BertModel, MaskedLanguageHead
from models.vision_language.vit import VisionTransformer, resize_position_embeddings
from structures.errors import UserError

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)

_MOMENTUM = re.compile(r"^(visual_encoder_m|text_encoder_m|vision_proj_m|text_proj_m|itm_head_m)\.")
_QUEUES = re.compile(r"^(image_queue|text_queue|queue_ptr|idx_queue|ptr_queue)$")


class CheckpointError(UserError):
    """A checkpoint that can't be an ALBEF: not readable without unpickling code, or tensors that don't fit."""


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

    def vision_to(self, dtype: torch.dtype) -> "ALBEF":
        """Compute the image encoder's products in another precision, its sums as before: nearly all of the work, and no
        gradient passes it. What the maps are made of stays as it is."""
        self._vision_dtype = dtype
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
        image_size: int,
        vision_heads: int = 12,
        text_heads: int = 12,
        dtype: torch.dtype | None = None,
    ) -> "ALBEF":
        """Read published or fine-tuned weights (.pth, or .safetensors), in evaluation mode.

        Sizes are read off the tensors; momentum copies and queues are left out; `text_encoder.` without `bert.` is
        taken; position embeddings are resized to image_size. Heads can't be read off the tensors: a .safetensors
        file of this project says them (and image_cls_visible) in its metadata, which then wins over the arguments.
        A file without a masked-language head gives a model without one. dtype: of the weights, None as in the file,
        whose pages are then used as they lie on the disk: loading takes no memory of its own.

        Raises CheckpointError with the list of tensors that are missing, unknown or ill-shaped.
        """
        tensors, settings = _read_tensors(Path(path))
        tensors = _published_names(tensors)
        sizes = _sizes(tensors, path)
        sizes |= {"vision_heads": vision_heads, "text_heads": text_heads, "image_size": image_size, **settings}
        pos = tensors["visual_encoder.pos_embed"]
        tensors["visual_encoder.pos_embed"] = resize_position_embeddings(pos, image_size // sizes["patch"])
        tensors.setdefault("text_encoder.bert.embeddings.position_ids", torch.arange(sizes["positions"]).unsqueeze(0))
        tensors.setdefault("temp", torch.tensor(0.07))
        with torch.device("meta"):
            model = cls(**sizes)
        _check_fit(model.state_dict(), tensors, path)
        if dtype is not None:
            tensors = {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
            }
        model.load_state_dict(tensors, assign=True)
        return model.eval().requires_grad_(False)


def load(weights: Path, tokens: Path | None, options) -> tuple[ALBEF, object]:
    """See models.vision_language.interface. weights: ALBEF.pth, a fine-tuned sibling, or this project's .safetensors."""
    from models.vision_language.tokens import read_tokenizer

    heads = options.vision_heads, options.text_heads
    model = ALBEF.from_checkpoint(weights, options.image_size, *heads, torch.float32)
    if options.precision == "bf16":
        model.vision_to(torch.bfloat16)
        torch.backends.cuda.matmul.allow_tf32 = True
    return model, read_tokenizer(weights, tokens, options.max_tokens)


def load_text(weights: Path, tokens: Path | None, options):
    """See models.vision_language.interface: ALBEF's own text projection."""
    from models.vision_language.tokens import encode

    model, tokenizer = load(weights, tokens, options)

    @torch.inference_mode()
    def embed(sentences: list[str]) -> Tensor:
        ids, mask, _ = encode(tokenizer, sentences)
        return model.text_features(model.encode_text(ids, mask)).float()

    return embed


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file and the settings in its metadata, if any."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("cap2mask", "{}")).get("albef", {})
            return {name: file.get_tensor(name) for name in file.keys()}, settings
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} can't be read as plain weights ({error}); it may need a newer download"
        ) from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no table of tensors, neither at its top nor under 'model'")
    return dict(content), {}


def _published_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in tensors.items():
        if _MOMENTUM.match(name) or _QUEUES.match(name):
            continue
        if name.startswith("text_encoder.") and not name.startswith(("text_encoder.bert.", "text_encoder.cls.")):
            name = "text_encoder.bert." + name.removeprefix("text_encoder.")
        named[name] = tensor
    return named


def _count(tensors: dict[str, Tensor], pattern: str) -> list[int]:
    return sorted({int(match[1]) for name in tensors if (match := re.match(pattern, name))})


def _sizes(tensors: dict[str, Tensor], path: str | Path) -> dict:
    """The constructor's sizes, as the tensors tell them."""
    text = "text_encoder.bert."
    try:
        width, _, patch, _ = tensors["visual_encoder.patch_embed.proj.weight"].shape
        crossing = _count(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.crossattention\.")
        return {
            "patch": patch,
            "vision_width": width,
            "vision_layers": len(_count(tensors, r"visual_encoder\.blocks\.(\d+)\.")),
            "vision_hidden": tensors["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
            "vocabulary": tensors[f"{text}embeddings.word_embeddings.weight"].shape[0],
            "positions": tensors[f"{text}embeddings.position_embeddings.weight"].shape[0],
            "text_width": tensors[f"{text}embeddings.word_embeddings.weight"].shape[1],
            "text_layers": len(_count(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.")),
            "fusion_layer": crossing[0],
            "text_hidden": tensors[f"{text}encoder.layer.0.intermediate.dense.weight"].shape[0],
            "projection": tensors["vision_proj.weight"].shape[0],
            "masked_language": "text_encoder.cls.predictions.bias" in tensors,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no ALBEF checkpoint: no usable tensor {error}; wanted is ALBEF.pth or a fine-tuned sibling"
        ) from error


def _check_fit(wanted: dict[str, Tensor], found: dict[str, Tensor], path: str | Path) -> None:
    faults = [f"missing {name} {tuple(wanted[name].shape)}" for name in wanted if name not in found]
    faults += [f"unknown {name} {tuple(found[name].shape)}" for name in found if name not in wanted]
    faults += [
        f"{name} is {tuple(found[name].shape)}, wanted {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if faults:
        raise CheckpointError(f"{path} does not fit ALBEF in {len(faults)} tensors:\n  " + "\n  ".join(faults))
