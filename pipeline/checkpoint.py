"""Checkpoints: safetensors files whose metadata hold the settings that the weights were trained with."""

from pathlib import Path

from store.blobs import canonical_json, check_content


def write_safetensors(path: Path, tensors: dict, settings: dict) -> None:
    """Write named tensors, shared ones twice, and settings, which JSON can hold; equal ones give equal bytes."""
    from safetensors.torch import save_file

    from structures.tensors import SETTINGS_KEY

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    # one entry: safetensors writes several in an order that changes from run to run
    save_file(plain, str(path), {SETTINGS_KEY: canonical_json(settings)})


def read_safetensors(path: Path) -> tuple[dict, dict]:
    """Tensors and settings of a file that a stage wrote. Raises UserError where it is none, or where it is a result of the
    store that holds something else than was written."""
    from structures.tensors import TensorsError, read_tensors

    check_content(path)
    if path.suffix != ".safetensors":
        raise TensorsError(f"{path} is no safetensors file: wanted is a stage's all.safetensors")
    return read_tensors(path)
