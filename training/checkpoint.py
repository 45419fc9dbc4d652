"""The checkpoint of a training under way: one file that is there whole or not at all, and that tells when it is broken.

It is what torch.save writes, with the sha256 of that behind it: a flipped bit in it would else go on as other weights.
"""

import hashlib
import logging
import os
from pathlib import Path

import torch

from structures.errors import UserError
from structures.files import sync_folder

log = logging.getLogger("cap2mask")
_DIGEST_BYTES = hashlib.sha256().digest_size


def save_checkpoint(path: Path, state: dict) -> None:
    """Keep a state of tensors, numbers, lists and dicts in place of what `path` held. No tensor of it is on a GPU, so
    that any device can go on from it.

    Raises OSError where it can't be written (a full disk); what `path` held is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    try:
        with open(draft, "wb") as file:
            stream = _Digesting(file)
            try:
                torch.save(_on_cpu(state), stream)
            except Exception as error:
                raise stream.error or error  # torch, which finds its file too short then, hides the disk's own words
            file.write(stream.digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_checkpoint(path: Path) -> dict | None:
    """The state that save_checkpoint kept, on the processor; None where there is none, or, with a warning, where it is
    broken: then the training starts anew. Nothing of the file is unpickled but tensors and plain values.

    Raises UserError where the file is there and can't be read.
    """
    try:
        with open(path, "rb") as file:
            if not _is_whole(file):
                log.warning("%s is broken (its digest is another): the training starts anew", path)
                return None
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror}): make it readable, or delete it to start the training anew"
        ) from error


def _is_whole(file) -> bool:
    """Whether a file ends with the digest of what stands before it; the file is at its start again then."""
    size = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        digest.update(chunk)
        size -= len(chunk)
    whole = size == 0 and file.read() == digest.digest()
    file.seek(0)
    return whole


class _Digesting:
    """A file to write to, the sha256 of what was written, and the error that stopped it."""

    def __init__(self, file):
        self._file, self.digest, self.error = file, hashlib.sha256(), None

    def write(self, data) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def _on_cpu(state):
    """A state of dicts, lists and tensors with all tensors on the processor."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return [_on_cpu(value) for value in state] if isinstance(state, list) else state
