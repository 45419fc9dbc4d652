"""What this project asks of a vision-language model, and how one is found by its name.

A model lives in one file, models/vision_language/NAME.py, and is chosen by the config key `model: NAME`. The file has

    load(weights, tokens, *, image_size, max_tokens, precision, **options) -> (model, tokenizer)
        for grounding. model: a VisionLanguageModel in evaluation mode; tokenizer: one of transformers' fast tokenizers.
    load_text(weights, tokens, *, max_tokens, precision, **options) -> embed
        for the detector's names. embed(sentences) gives [sentences, dimension] float32, not normalised, on the CPU; the
        text is computed in fp32 whatever the precision.

or one of the two. weights, tokens: paths (tokens may be None); image_size: pixels along one side; max_tokens: longer
texts are cut; precision: of the weights while they run, "fp32" or "bf16"; options: the model's own, by name.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerFast

from structures.errors import UserError
from structures.modules import modules_with


class ModelError(UserError):
    """A model that can't be had: a name that no file of models/vision_language has, or weights of something else."""


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


def load_model(
    name: str, weights: Path, tokens: Path | None, **options
) -> tuple[VisionLanguageModel, PreTrainedTokenizerFast]:
    """The model for grounding that models/vision_language/NAME.py loads, and the tokenizer of its texts.

    options: as `load` of that file takes them, by name. Raises ModelError, and what that file raises.
    """
    return _loader(name, "load")(weights, tokens, **options)


def load_text_embedder(name: str, weights: Path, tokens: Path | None, **options) -> Callable[[list[str]], Tensor]:
    """embed(sentences) of the model in models/vision_language/NAME.py.

    options: as `load_text` of that file takes them, by name. Raises ModelError, and what that file raises.
    """
    return _loader(name, "load_text")(weights, tokens, **options)


def _loader(name: str, function: str) -> Callable:
    """A function of models/vision_language/NAME.py."""
    models = modules_with(function, Path(__file__).parent)
    if name not in models:
        raise ModelError(
            f"model {name!r}: no file models/vision_language/{name}.py with a function {function}; "
            f"there are {', '.join(models)}"
        )
    return getattr(import_module(f"models.vision_language.{name}"), function)
