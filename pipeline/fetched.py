"""Weights that others publish, by names that say what they hold: a model of the hub at a revision, torchvision's weights of
one sha256. They are fetched into the caches that transformers and torch keep, where other programs find them, too.

Of a model of the hub plain data is read (safetensors, or an older model's weights; JSON and text), never code.
"""

import hashlib
import os
import re
from pathlib import Path

from structures.errors import UserError

_DATA = ["*.json", "*.txt", "*.safetensors"]
_OLDER = "pytorch_model.bin"  # of a model without safetensors; read without running code
_SNAPSHOT = re.compile(r"/models--[^/]+/snapshots/[0-9a-f]{40}$")  # in the hub's cache, of one revision
_BLOB = re.compile(r"/blobs/([0-9a-f]{40}|[0-9a-f]{64})$")  # there, by git's sha1 or, a large file, by its sha256
# torchvision's ResNet-50 by the name of its weights: their file, which has eight digits of their sha256, and that
TORCHVISION = {
    "IMAGENET1K_V1": ("resnet50-0676ba61.pth", "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
    "IMAGENET1K_V2": ("resnet50-11ad3fa6.pth", "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca"),
}
_TORCHVISION_ADDRESS = "https://download.pytorch.org/models"


def hub_model(name: str, revision: str) -> Path:
    """The folder of a hub's model in its cache, with what is read of it. Raises FileNotFoundError where it has no weights,
    and whatever the network, the hub or the disk does."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(name, revision=revision, local_files_only=True)
        if _weights(folder) and all(file.exists() for file in files_read(folder)):
            return folder
    except LocalEntryNotFoundError:
        pass
    folder = _snapshot(name, revision=revision, etag_timeout=5)
    if not _weights(folder):
        _snapshot(name, _OLDER, revision=revision, etag_timeout=5)
    if not _weights(folder):
        raise FileNotFoundError(f"{name} has neither safetensors nor {_OLDER}")
    return folder


def _snapshot(name: str, *files: str, **options) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=[*files] or _DATA, ignore_patterns="*/*", **options))


def _weights(snapshot: Path) -> list[Path]:
    return [*snapshot.glob("*.safetensors")] or [*snapshot.glob(_OLDER)]


def files_read(snapshot: Path) -> list[Path]:
    """What is read of a hub's model; other programs, too, put files of theirs into its folder."""
    return [*snapshot.glob("*.json"), *snapshot.glob("*.txt"), *_weights(snapshot)]


def is_hub_model(folder: Path) -> bool:
    """Whether a folder is that of a hub's model in its cache; its name is the revision then."""
    return bool(_SNAPSHOT.search(folder.absolute().as_posix()))


def revision_now(name: str) -> str:
    """The commit that a hub's model has in the cache, or else on the hub; REVISION where neither can be asked."""
    from huggingface_hub import HfApi

    try:
        return _snapshot(name, local_files_only=True).name
    except Exception:  # it is not in the cache, or no name
        pass
    try:
        return HfApi().model_info(name, timeout=5).sha or "REVISION"
    except Exception:  # there is no network, or no such model
        return "REVISION"


def torchvision_weights(name: str) -> Path:
    """The file of one of TORCHVISION in torch's cache (that of torch.hub.get_dir; torch is imported to fetch it alone)."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    file_name, digest = TORCHVISION[name]
    file = Path(home).expanduser() / "hub" / "checkpoints" / file_name
    if not file.exists():
        if os.environ.get("HF_HUB_OFFLINE"):
            raise FileNotFoundError(f"{file} is not there, and this machine is offline")
        from torch.hub import download_url_to_file

        file.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(f"{_TORCHVISION_ADDRESS}/{file_name}", str(file), hash_prefix=digest)
    return file


def check_name(file: Path, digest: str) -> None:
    """Raises UserError where a file is named as torchvision's weights or lies in the hub's cache and is not what its name
    says. digest: its sha256."""
    place = file.resolve()
    of_hub = place.name if _BLOB.search(place.as_posix()) else digest
    known = dict(TORCHVISION.values()).get(file.name, of_hub)
    if known not in (digest, len(known) == 40 and _git_digest(place)):
        raise UserError(
            f"{file} does not hold what its name says (its sha256 is {digest}): delete {place}, to fetch it again"
        )


def _git_digest(file: Path) -> str:
    """The name that git, and the hub's cache, give a small file."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
