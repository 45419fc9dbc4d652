"""Networks and tokenizers that transformers reads from a folder, whole or not at all, and without running code in it."""

from pathlib import Path

from models.vision_language.interface import ModelError
from structures.tensors import told


def read_pretrained(network: type, tokenizer: type, weights: Path, what: str) -> tuple:
    """The network of a folder, in evaluation mode, and its tokenizer. what: the kind of model, for the message.

    Raises ModelError where the folder is none of such a model; where a tensor is missing, too, which transformers would
    fill with random numbers.
    """
    plain = {"local_files_only": True, "trust_remote_code": False}
    try:
        loaded, info = network.from_pretrained(weights, output_loading_info=True, weights_only=True, **plain)
        words = tokenizer.from_pretrained(weights, **plain)
    except Exception as error:  # a broken file breaks transformers and its tokenizers in any way
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"{weights} is no folder of a {what}: {why}") from error
    faults = [f"missing {name}" for name in sorted(info["missing_keys"]) if not name.endswith("position_ids")]
    faults += [f"{key[0] if isinstance(key, tuple) else key} of another shape" for key in info["mismatched_keys"]]
    if faults:
        raise ModelError(f"{weights} is no whole folder of a {what}, download it again: {told(faults)}")
    return loaded.eval(), words
