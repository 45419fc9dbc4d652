"""ALBEF's weights, published (Li et al., 2021), fine-tuned or trained here: tensors by name, and their sizes."""

import re
from pathlib import Path

from torch import Tensor

from structures.errors import UserError
from structures.tensors import TensorsError, misfits, read_tensors, told

_MOMENTUM = re.compile(r"^(visual_encoder_m|text_encoder_m|vision_proj_m|text_proj_m|itm_head_m)\.")
_QUEUES = re.compile(r"^(image_queue|text_queue|queue_ptr|idx_queue|ptr_queue)$")


class CheckpointError(UserError):
    """A checkpoint that can't be an ALBEF: not readable without unpickling code, or tensors that don't fit."""


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file by their published names, and the ALBEF settings in the metadata, if any.

    path: plain weights (.pth), or .safetensors; momentum copies and queues are left out. Raises CheckpointError.
    """
    try:
        tensors, settings = read_tensors(path)
    except TensorsError as error:
        raise CheckpointError(str(error)) from error
    settings = settings.get("albef", {})
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} holds no settings of an ALBEF in its metadata: name another file")
    return _published_names(tensors), settings


def _published_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in tensors.items():
        if _MOMENTUM.match(name) or _QUEUES.match(name):
            continue
        if name.startswith("text_encoder.") and not name.startswith(("text_encoder.bert.", "text_encoder.cls.")):
            name = "text_encoder.bert." + name.removeprefix("text_encoder.")
        named[name] = tensor
    return named


def _layer_numbers(tensors: dict[str, Tensor], pattern: str) -> list[int]:
    """The layers that tensors are of, by the pattern's group."""
    return sorted({int(match[1]) for name in tensors if (match := re.match(pattern, name))})


def published_sizes(tensors: dict[str, Tensor], path: str | Path) -> dict:
    """The sizes that ALBEF is constructed with, as far as the tensors tell them: all but the heads.

    Raises CheckpointError where a tensor that tells one is missing.
    """
    text = "text_encoder.bert."
    try:
        width, _, patch, _ = tensors["visual_encoder.patch_embed.proj.weight"].shape
        grid = round((tensors["visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
        fusion = _layer_numbers(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.crossattention\.")
        return {
            "image_size": grid * patch,
            "patch": patch,
            "vision_width": width,
            "vision_layers": len(_layer_numbers(tensors, r"visual_encoder\.blocks\.(\d+)\.")),
            "vision_hidden": tensors["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
            "vocabulary": tensors[f"{text}embeddings.word_embeddings.weight"].shape[0],
            "positions": tensors[f"{text}embeddings.position_embeddings.weight"].shape[0],
            "text_width": tensors[f"{text}embeddings.word_embeddings.weight"].shape[1],
            "text_layers": len(_layer_numbers(tensors, rf"{re.escape(text)}encoder\.layer\.(\d+)\.")),
            "fusion_layer": fusion[0],
            "text_hidden": tensors[f"{text}encoder.layer.0.intermediate.dense.weight"].shape[0],
            "projection": tensors["vision_proj.weight"].shape[0],
            "masked_language": "text_encoder.cls.predictions.bias" in tensors,
        }
    except (LookupError, ValueError, ArithmeticError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no ALBEF checkpoint: no usable tensor {error}; wanted is ALBEF.pth or a fine-tuned sibling"
        ) from error


def check_fit(wanted: dict[str, Tensor], tensors: dict[str, Tensor], path: str | Path) -> None:
    """Raise CheckpointError naming the tensors that are missing, unknown, or of another shape or kind than is wanted."""
    faults = misfits(wanted, tensors)
    if faults:
        raise CheckpointError(f"{path} does not fit ALBEF in {len(faults)} tensors: {told(faults)}")
