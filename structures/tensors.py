"""Files of tensors that somebody else wrote: safetensors, or what torch.save writes, read without running code in them;
and networks that take such tensors over, or say what does not fit."""

import json
import pickle
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from structures.errors import UserError

SETTINGS_KEY = (
    "cap2mask"  # in the metadata of this project's own files: the settings that the weights were trained with
)
_MOST_TOLD = 8  # faults


class TensorsError(UserError):
    """A file that holds no tensors, or tensors that don't fit; the message names file and remedy, on one line."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file, and this project's settings of its metadata ({} where there are none), on the processor.

    path: .safetensors, or what torch.save wrote: a table of tensors, at its top or under "model". Raises TensorsError.
    """
    path = Path(path)
    try:
        tensors, settings = _safetensors(path) if path.suffix == ".safetensors" else (_torch_file(path), {})
    except Exception as error:  # a broken file breaks its readers in any way
        raise TensorsError(f"{path} can't be read as plain weights: {_why(path, error)}") from error
    tensors = tensors.get("model", tensors) if isinstance(tensors, dict) else tensors
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided
        for name, tensor in tensors.items()
    ):
        raise TensorsError(f"{path} holds no table of tensors, neither at its top nor under 'model': name another file")
    if not isinstance(settings, dict):
        raise TensorsError(f"{path} holds no settings in its metadata: name another file")
    return dict(tensors), settings


def _safetensors(path: Path) -> tuple[dict, dict]:
    with safe_open(path, framework="pt") as file:
        settings = json.loads((file.metadata() or {}).get(SETTINGS_KEY, "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, settings


def _torch_file(path: Path):
    with path.open("rb") as file:
        archive = (
            file.read(4) == b"PK\x03\x04"
        )  # torch's format of 2020 on, whose pages can be used as they lie on the disk
    return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)


def _why(path: Path, error: Exception) -> str:
    """What is the matter with a file that can't be read, and what to do about it, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; name another file"
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError:
        start = b""
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself (git lfs pull)"
    if isinstance(error, pickle.UnpicklingError) and "weights" in str(error).lower():
        return "it holds code or objects besides tensors, which are never loaded, or is damaged; get the plain weights"
    first = " ".join(str(error).split())[:120] or type(error).__name__
    return f"it is cut short, damaged or of another kind ({first}); download it again"


_COUNTER = "num_batches_tracked"  # of a normalisation that learns: how many batches it has seen


def take_over(
    network: nn.Module, tensors: dict[str, Tensor], source: str, *, passed_over: tuple[str, ...] = ()
) -> None:
    """Load tensors into a network, all of its own. source: what they are of, for the message; passed_over: starts of names
    that either side may have alone, as either may the counters of normalisations, which frozen ones lack. Raises TensorsError
    naming what is missing, unknown, or of another shape or kind."""
    wanted = network.state_dict()
    faults = misfits(wanted, tensors, passed_over)
    if faults:
        raise TensorsError(f"{source} does not fit: {told(faults)}")
    network.load_state_dict({name: value for name, value in tensors.items() if name in wanted}, strict=False)


def misfits(wanted: dict[str, Tensor], tensors: dict[str, Tensor], passed_over: tuple[str, ...] = ()) -> list[str]:
    """A line for each tensor that is missing, unknown, or of another shape or kind than is wanted."""
    faults = [
        f"missing {name} {tuple(wanted[name].shape)}"
        if name in wanted
        else f"unknown {name} {tuple(tensors[name].shape)}"
        for name in wanted.keys() ^ tensors.keys()
        if not name.startswith(passed_over) and not name.endswith(_COUNTER)
    ]
    for name in wanted.keys() & tensors.keys():
        value, want = tensors[name], wanted[name]
        if value.shape != want.shape:
            faults.append(f"{name} is {tuple(value.shape)}, wanted {tuple(want.shape)}")
        elif value.is_floating_point() != want.is_floating_point():
            faults.append(f"{name} is of {value.dtype}, wanted {want.dtype}".replace("torch.", ""))
    return sorted(faults)


def told(faults: list[str]) -> str:
    """The first of many faults on one line."""
    more = f" … ({len(faults)} in all)" if len(faults) > _MOST_TOLD else ""
    return ", ".join(fault[:200] for fault in faults[:_MOST_TOLD]) + more
