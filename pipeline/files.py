"""Finding the files that parameters name: a path, a hub's model, or weights that torchvision knows by name.

A parameter of the schema with the keyword `file` names a file; the keyword says what is usually there and how large.
"""

import os
import re
from pathlib import Path

from pipeline.config import section_schema
from structures.errors import UserError

TOKENS = "vocab.txt of bert-base-uncased, 232 kB"
_SUFFIXES = {".pth", ".pt", ".bin", ".safetensors", ".txt", ".json"}  # of a file's path, which a hub's name has none of
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_TORCHVISION = {  # torchvision.models.ResNet50_Weights
    "IMAGENET1K_V1": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "IMAGENET1K_V2": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
}


def find_file(value: str, key: str, usual: str = "") -> Path:
    """The file or folder that a parameter's value names: a path; IMAGENET1K_V1 or IMAGENET1K_V2 of torchvision's
    ResNet-50; or a model of the hub as OWNER/NAME, as transformers caches it. The last two are fetched where they
    are not there yet and the machine is not offline (HF_HUB_OFFLINE).

    Raises UserError saying what is wanted, its usual name and size, and the config key that points at it.
    """
    if Path(value).exists():
        return Path(value)
    said = f"; usually {usual}" if usual else ""
    try:
        if value in _TORCHVISION:
            return _torchvision(_TORCHVISION[value])
        if _HUB_NAME.match(value) and Path(value).suffix not in _SUFFIXES:
            return _hub(value)
    except Exception as error:  # whatever the network, the hub or the disk says
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{key}: {value} is neither here nor could it be fetched ({reason}){said}; fetch it where there is a network "
            f"and point the config key {key} at the file"
        ) from error
    raise UserError(f"{key}: {value} is not there{said}; point the config key {key} at it")


def _hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        folder = Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=5))
    if not list(folder.glob("*.safetensors")):  # older models have plain weights alone, read without running code
        snapshot_download(name, allow_patterns="pytorch_model.bin", etag_timeout=5)
    return folder


def _torchvision(address: str) -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torch"
    file = Path(home) / "hub" / "checkpoints" / address.rsplit("/", 1)[1]
    if not file.exists():
        if os.environ.get("HF_HUB_OFFLINE"):
            raise FileNotFoundError(f"{file} is not there, and this machine is offline")
        from torch.hub import download_url_to_file

        file.parent.mkdir(parents=True, exist_ok=True)
        digest = file.stem.split("-")[1]
        download_url_to_file(address, str(file), hash_prefix=digest)
    return file


def file_parameters(stage: str, section: dict):
    """(dotted name, value, what is usual) of every parameter of a stage that names a file and is set."""
    yield from _file_parameters(section_schema(stage), section, "")


def _file_parameters(rules: dict, section: dict, prefix: str):
    for name, rule in rules.get("properties", {}).items():
        value = section.get(name)
        if rule.get("type") == "object" and isinstance(value, dict):
            yield from _file_parameters(rule, value, f"{prefix}{name}.")
        elif "file" in rule and value:
            yield f"{prefix}{name}", value, rule["file"]


def missing_files(config: dict, stages: list[str]) -> list[str]:
    """What the stages will look for and not find, a line each; empty where all is there."""
    faults: dict[str, str] = {}
    for stage in stages:
        section = config.get(stage, {})
        if not isinstance(section, dict):
            continue
        for name, value, usual in file_parameters(stage, section):
            key = f"{stage}.{name}"
            if stage == "ingest":
                if config["toy"]["train"]:
                    continue  # the rule toy makes them
                path = Path(config["root"]) / value
                if not path.exists():
                    faults.setdefault(str(path), f"{key}: {path} is not there; usually {usual}")
                continue
            try:
                path = find_file(value, key, usual)
            except UserError as error:
                faults.setdefault(f"{value} {name.rsplit('.', 1)[-1]}", str(error))
                continue
            if section.get("tokens") == "" and path.suffix in (".pth", ".pt"):
                faults.setdefault("tokens", f"{stage}.tokens: {path} holds no word pieces; wanted is {TOKENS}")
    if "categories" in stages and config["vocabulary"]:
        try:
            find_file(config["vocabulary"], "vocabulary")
        except UserError as error:
            faults["vocabulary"] = str(error)
    return list(faults.values())
