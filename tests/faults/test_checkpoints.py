"""Weights that were cut, flipped, exchanged or misshapen on their way: each is used or refused in one line that names the
file, whatever it holds; nothing of it is run."""

import json
import pickle
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizerFast, CLIPTextConfig, CLIPTextModelWithProjection

from models.backbones import SmallBackbone, build_backbone, read_backbone_weights
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN, load_detector
from models.vision_language.interface import load_model, load_text_embedder
from pipeline.checkpoint import read_safetensors, write_safetensors
from store.fingerprint import ROOT
from structures.errors import UserError
from tests.models.vision_language.test_interface import WORDS

pytestmark = pytest.mark.faults
TOY = ROOT / "data/weights/albef_toy.safetensors"
SECONDS = 30  # of a case, of which a tenth of one is ordinary
PAGE = b"<!DOCTYPE html><html><body>404: not found</body></html>"
DETECTOR = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96}


class Code:
    """What a pickle can hold: a call."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def albef(path: Path) -> None:
    tokens = path.parent / "vocab.txt" if path.suffix == ".pth" else None
    options = {"max_tokens": 12, "image_size": 48, "precision": "fp32"} | ({} if tokens else {"image_size": 96})
    load_model("albef", path, tokens, **options, vision_heads=4, text_heads=4)


def detector(path: Path) -> None:
    load_detector(*read_safetensors(path), str(path))


def backbone(path: Path) -> None:
    build_backbone("small", read_backbone_weights(path), frozen=True)


def text_folder(path: Path) -> None:
    name = "clip" if "clip" in path.parent.name else "bert"
    load_text_embedder(name, path.parent, None, max_tokens=12, precision="fp32")(["a cat"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, tuple[Path, Callable]]:
    """{kind: (a whole file, what reads it)}."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    shutil.copy(ROOT / "tests/data/albef_tiny.pth", folder / "albef.pth")
    pieces = len(
        torch.load(folder / "albef.pth", weights_only=True)["model"][
            "text_encoder.bert.embeddings.word_embeddings.weight"
        ]
    )
    (folder / "vocab.txt").write_text("\n".join([*WORDS, *map(str, range(pieces))][:pieces]))
    shutil.copy(TOY, folder / "albef.safetensors")
    write_safetensors(
        folder / "detector.safetensors", OpenVocabularyMaskRCNN(**DETECTOR).state_dict(), {"detector": DETECTOR}
    )
    weights = SmallBackbone().state_dict()
    save_file(weights, folder / "backbone.safetensors")
    torch.save(weights, folder / "backbone.pth")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=True)
    bert = folder / "bert"
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(bert)
    words.save_pretrained(bert)
    kinds = {
        "albef.pth": albef,
        "albef.safetensors": albef,
        "detector.safetensors": detector,
        "backbone.safetensors": backbone,
        "backbone.pth": backbone,
        "bert/model.safetensors": text_folder,
        "bert/config.json": text_folder,
        "bert/tokenizer.json": text_folder,
    }
    files = {kind: (folder / kind, read) for kind, read in kinds.items()}
    for path, read in files.values():
        read(path)  # whole, each can be used
    return files


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file's bytes after an accident."""
    kind = rng.choice(("flip", "flips", "cut", "zeros", "header", "longer", "exchanged", "page", "empty"))
    changed = bytearray(content)
    if kind in ("flip", "flips", "header"):
        end = min(len(changed), 4096) if kind == "header" else len(changed)
        for _ in range(1 if kind == "flip" else rng.randint(2, 64)):
            changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[rng.randrange(len(changed)) :]
    elif kind == "zeros":
        start = rng.randrange(len(changed))
        end = min(len(changed), start + 4096)
        changed[start:end] = bytes(end - start)
    elif kind == "longer":
        changed += rng.randbytes(rng.randint(1, 999))
    elif kind == "exchanged":
        start, size = rng.randrange(len(changed)), rng.randint(1, 4096)
        changed[start : start + size] = rng.randbytes(rng.randint(0, size))
    else:
        changed = bytearray(PAGE if kind == "page" else b"")
    return bytes(changed)


def _reshaped(value: torch.Tensor, kind: str) -> torch.Tensor:
    if kind in ("flat", "shorter"):
        return value.flatten()[: -1 if kind == "shorter" else None].clone()
    if kind == "longer":
        return torch.cat([value.flatten()] * 2)
    if kind == "int":
        return torch.zeros(value.shape, dtype=torch.int64)
    return torch.zeros(()) if kind == "scalar" else torch.full(value.shape, 0, dtype=value.dtype)


def misshapen(tensors: dict, settings: dict, rng: random.Random) -> tuple[dict, dict]:
    """Tensors and settings that are well written, and not those of the network."""
    tensors, settings = dict(tensors), json.loads(json.dumps(settings))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(tensors))
        value = tensors[name]
        kind = rng.choice(
            ("missing", "renamed", "flat", "shorter", "longer", "int", "scalar", "nan", "settings", "extra")
        )
        if kind == "missing":
            del tensors[name]
        elif kind == "renamed":
            tensors[rng.choice((name.replace("0", "99999999999"), name + "x", "fc.weight", "noise_head.x"))] = (
                tensors.pop(name)
            )
        elif kind in ("flat", "shorter", "longer", "int", "scalar", "zero"):
            tensors[name] = _reshaped(value, kind)
        elif kind == "extra":
            tensors["more.weight"] = torch.zeros(3)
        else:
            section = rng.choice([settings, *(part for part in settings.values() if isinstance(part, dict))])
            other = rng.choice((None, -1, 0, 7, 1e300, "x", [], {}, [None], {"a": 1}))
            section[rng.choice([*section, "unknown"])] = other
        tensors = tensors or {"left": torch.zeros(1)}
    return tensors, settings


def used_or_refused(read: Callable, path: Path) -> None:
    """Read a file within SECONDS; what is not used is refused by one line that names the file or its folder."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{path}: no end after {SECONDS} s"))
    signal.alarm(SECONDS)
    try:
        read(path)
    except UserError as error:
        text = str(error)
        assert str(path.parent) in text, text
        assert "\n" not in text and len(text) < 3000, text
    finally:
        signal.alarm(0)


def copied(whole, kind: str, folder: Path) -> tuple[Path, Callable]:
    """A file of a kind, with those that belong to it, in another folder."""
    path, read = whole[kind]
    shutil.copytree(path.parent, folder / path.parent.name, dirs_exist_ok=True) if "/" in kind else shutil.copy(
        path, folder
    )
    shutil.copy(path.parent.parent / "vocab.txt" if "/" in kind else path.parent / "vocab.txt", folder)
    return folder / kind, read


KINDS = ("albef.pth", "albef.safetensors", "detector.safetensors", "backbone.safetensors", "backbone.pth")
FOLDER = ("bert/model.safetensors", "bert/config.json", "bert/tokenizer.json")


@pytest.mark.parametrize("kind", [*KINDS, *FOLDER])
def test_damaged_weights_are_used_or_refused(campaign, whole, tmp_path, kind):
    path, read = copied(whole, kind, tmp_path)
    content = path.read_bytes()

    def check(rng: random.Random) -> None:
        path.write_bytes(damaged(content, rng))
        used_or_refused(read, path)

    campaign.run(check, each=2)


@pytest.mark.parametrize("kind", [*KINDS, "bert/model.safetensors"])
def test_misshapen_weights_are_used_or_refused(campaign, whole, tmp_path, kind):
    path, read = copied(whole, kind, tmp_path)
    if path.suffix == ".pth":
        content, metadata = torch.load(path, weights_only=True), {}
        tensors = content.get("model", content)
    else:
        with safe_open(path, "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    settings = json.loads(metadata.get("cap2mask", "{}"))

    def check(rng: random.Random) -> None:
        others, changed = misshapen(tensors, settings, rng)
        if path.suffix == ".pth":
            torch.save(rng.choice((others, {"model": others})), path)
        else:
            save_file(others, path, metadata | ({"cap2mask": json.dumps(changed)} if settings else {}))
        used_or_refused(read, path)

    campaign.run(check, each=2)


@pytest.mark.parametrize("kind", ["albef.pth", "backbone.pth"])
def test_code_in_weights_is_never_run(campaign, whole, tmp_path, kind):
    path, read = copied(whole, kind, tmp_path)
    tensors = torch.load(path, weights_only=True)
    mark = tmp_path / "ran"

    def check(rng: random.Random) -> None:
        place = rng.choice(("top", "model", "key", "legacy", "plain"))
        evil = {"top": Code(mark), "model": {"model": Code(mark)}, "key": dict(tensors) | {"x": Code(mark)}}.get(place)
        if place == "plain":
            path.write_bytes(pickle.dumps({"model": Code(mark)}, protocol=rng.randint(0, 5)))
        else:
            evil = evil or dict(tensors) | {"x": Code(mark)}
            torch.save(evil, path, _use_new_zipfile_serialization=place != "legacy")
        with pytest.raises(UserError, match="can't be read as plain weights"):
            read(path)
        assert not mark.exists()

    campaign.run(check)


def test_a_clip_without_a_tensor_is_refused(tmp_path):
    """transformers alone would fill it with random numbers."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = tmp_path / "clip"
    CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=len(WORDS), projection_dim=8, **sizes)).save_pretrained(
        folder
    )
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if "text_projection" not in name}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"clip is no (whole )?folder of a CLIP model.*"):
        text_folder(folder / "model.safetensors")
