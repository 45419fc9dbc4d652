"""What this project asks of a vision-language model, and how one is found by its name.

A model lives in one file, models/vision_language/NAME.py, and is chosen by the config key `model: NAME`. The file has

    load(weights, tokens, options) -> (model, tokenizer)
        for grounding. weights, tokens: paths (tokens may be None); options: the stage's parameters as attributes.
        model: a VisionLanguageModel in evaluation mode; tokenizer: one of transformers' fast tokenizers.
    load_text(weights, tokens, options) -> embed
        for the detector's names. embed(sentences) gives [sentences, dimension] float32, not normalised.

or one of the two.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol

from torch import Tensor

from structures.errors import UserError


class UnknownModel(UserError):
    """A name that no file of models/vision_language/ has."""


class VisionLanguageModel(Protocol):
    """A network with cross-attention from text to image patches, and a head that says whether the two match.

    image_size: pixels along one side; image_mean, image_std: of the colours it wants, for values 0..1; grid: patches
    along one side; fusion_layers: the numbers of the layers that have cross-attention.
    """

    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    grid: int
    fusion_layers: range

    def encode_image(self, images: Tensor) -> Tensor:
        """[batch, 3, image_size, image_size], normalised, to [batch, 1 + grid^2, width], a global token first."""

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[batch, tokens] ids and 0/1 mask to hidden states [batch, tokens, width] before any sight of the image."""

    def fuse(
        self, text: Tensor, attention_mask: Tensor, image: Tensor, keep: tuple[int, ...] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Multimodal hidden states [batch, tokens, width], and of each layer in `keep` the cross-attention weights
        [batch, heads, tokens, 1 + grid^2], through which gradients flow and can be asked for."""

    def match_logits(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, 2]; index 1 says that image and text belong together."""

    def token_log_probs(self, fused: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, tokens, vocabulary], or an error where the model has no such head."""


def _loader(name: str, function: str):
    files = {module.name for module in iter_modules([str(Path(__file__).parent)])}
    found = getattr(import_module(f"models.vision_language.{name}"), function, None) if name in files else None
    if found is None:
        raise UnknownModel(f"model {name!r}: wanted a file models/vision_language/{name}.py with a function {function}")
    return found


def load_model(weights: Path, tokens: Path | None, options) -> tuple[VisionLanguageModel, object]:
    """The model that options.model names, and its tokenizer. Raises UnknownModel, and what the model's file does."""
    return _loader(options.model, "load")(weights, tokens, options)


def load_text_embedder(weights: Path, tokens: Path | None, options):
    """embed(sentences) of the model that options.model names. Raises UnknownModel, and what the model's file does."""
    return _loader(options.model, "load_text")(weights, tokens, options)
