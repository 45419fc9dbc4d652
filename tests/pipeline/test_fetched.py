"""Weights by names of contents: hub models at a revision from a hub that this test plays, torchvision's by their whole
sha256."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants as hub
import pytest
import torch

from pipeline import fetched
from pipeline.fetched import TORCHVISION, torchvision_weights
from pipeline.files import content_digest, find_file
from structures.errors import UserError

NAME = "owner/clip-small"
OLD, NEW = "a" * 40, "b" * 40
FILES = {
    OLD: {
        "config.json": b"{}",
        "model.safetensors": b"old",
        "pytorch_model.bin": b"p",
        "run.py": b"x",
        "onnx/a.json": b"",
    },
    NEW: {"config.json": b"{}", "pytorch_model.bin": b"plain", "model.msgpack": b"flax"},
}
KEY = "text_embedder.weights"


class Hub(BaseHTTPRequestHandler):
    """Two revisions of one model, of which NEW is the main one, as the hub serves them."""

    def do_GET(self):
        _, *parts = self.path.split("?")[0].split("/")
        if parts == ["api", "models", *NAME.split("/")]:
            return self._answer(json.dumps({"id": NAME, "sha": NEW}).encode())
        if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
            rows = [self._row(path, content) for path, content in FILES[parts[5]].items()]
            return self._answer(json.dumps(rows).encode())
        if parts[2:3] == ["resolve"] and "/".join(parts[4:]) in FILES.get(parts[3], ()):
            content = FILES[parts[3]]["/".join(parts[4:])]
            row = self._row(parts[-1], content)
            etag = row["lfs"]["oid"] if "lfs" in row else row["oid"]
            return self._answer(content, {"ETag": f'"{etag}"', "X-Repo-Commit": parts[3]})
        self.send_error(404)

    do_HEAD = do_GET

    @staticmethod
    def _row(path, content):
        row = {"type": "file", "path": path, "size": len(content)}
        row["oid"] = hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        return row | ({"lfs": large} if path.endswith((".safetensors", ".bin", ".msgpack")) else {})

    def _answer(self, content, headers=None):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture()
def online(caches, monkeypatch):
    """The caches, and a hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(hub, "ENDPOINT", address)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield caches
    server.shutdown()
    server.server_close()


def cached(caches, revision, files):
    """A model in the hub's cache as another program left it there, main being that revision."""
    folder = caches / "hub" / f"models--{NAME.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    for path, content in files.items():
        file = folder / "snapshots" / revision / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder / "snapshots" / revision


def names(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_hub_model_is_read_at_its_revision_whatever_the_main_one_is(online, monkeypatch):
    old = find_file(f"{NAME}@{OLD}", KEY)
    assert names(old) == ["config.json", "model.safetensors"] and (old / "model.safetensors").read_bytes() == b"old"
    new = find_file(f"{NAME}@{NEW}", KEY)
    assert names(new) == ["config.json", "pytorch_model.bin"], "an older model's plain weights, where it has no others"
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert (find_file(f"{NAME}@{OLD}", KEY), find_file(f"{NAME}@{NEW}", KEY)) == (old, new)


def test_a_hub_model_without_a_revision_is_refused_with_the_one_it_has_now(online, caches, monkeypatch):
    wanted = rf"{KEY}: {NAME}{{}} is not there.*{NAME}@{{}}; usually 1 GB; point the config key {KEY} at that"
    for given in ("", "@main", f"@{OLD[:12]}"):
        with pytest.raises(UserError, match=wanted.format(given, NEW)):
            find_file(f"{NAME}{given}", KEY, "1 GB")
    cached(caches, OLD, FILES[OLD])
    with pytest.raises(UserError, match=wanted.format("", OLD)):
        find_file(NAME, KEY, "1 GB")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="owner/other@REVISION;"):
        find_file("owner/other", KEY)


def test_a_model_of_which_the_cache_has_a_part_is_fetched_whole(online, caches):
    folder = cached(caches, OLD, {"config.json": b"{}"})
    assert find_file(f"{NAME}@{OLD}", KEY) == folder and "model.safetensors" in names(folder)


def test_a_model_without_weights_is_refused(caches):
    cached(caches, OLD, {"config.json": b"{}"})
    with pytest.raises(UserError, match=rf"{KEY}: {NAME}@{OLD} is neither here nor could it be fetched"):
        find_file(f"{NAME}@{OLD}", KEY)


def test_the_digest_of_a_hub_model_is_of_its_revision_and_of_what_is_read(caches):
    folder = cached(caches, OLD, {"config.json": b"{}", "model.safetensors": b"old"})
    digest = content_digest(folder)
    cached(caches, OLD, {"pytorch_model.bin": b"another program's", "README.md": b"", "onnx/model.json": b"{}"})
    assert content_digest(folder) == digest
    assert content_digest(cached(caches, NEW, {"config.json": b"{}", "model.safetensors": b"old"})) != digest
    cached(caches, OLD, {"config.json": b"{ }"})
    assert content_digest(folder) != digest


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_changed_file_of_the_hubs_cache_is_refused_and_fetched_again(online, file):
    folder = find_file(f"{NAME}@{OLD}", KEY)
    digest, blob = content_digest(folder), (folder / file).resolve()
    blob.write_bytes(b"changed")
    with pytest.raises(UserError, match=rf"{file} does not hold what its name says.*delete {blob}, to fetch it again"):
        content_digest(folder)
    blob.unlink()
    assert find_file(f"{NAME}@{OLD}", KEY) == folder and content_digest(folder) == digest


def test_torchvisions_weights_are_where_it_looks_for_them_and_whence_it_takes_them(caches, monkeypatch):
    from torchvision.models import ResNet50_Weights

    for name, (file_name, digest) in TORCHVISION.items():
        assert ResNet50_Weights[name].url == f"{fetched._TORCHVISION_ADDRESS}/{file_name}"
        assert file_name == f"resnet50-{digest[:8]}.pth" and len(digest) == 64
    for home in (None, str(caches / "cache")):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(caches))
        if home:
            monkeypatch.setenv("XDG_CACHE_HOME", home)
        with pytest.raises(FileNotFoundError, match=rf"{torch.hub.get_dir()}/checkpoints/{file_name} is not there"):
            torchvision_weights(name)


def test_torchvisions_weights_are_fetched_by_their_whole_digest(caches, monkeypatch):
    """Of another file, too, the name may have the first eight digits."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    file_name = f"resnet50-{digest[:8]}.pth"
    (caches / file_name).write_bytes(content)
    monkeypatch.setattr(fetched, "_TORCHVISION_ADDRESS", caches.as_uri())
    monkeypatch.setitem(TORCHVISION, "IMAGENET1K_V1", (file_name, digest[:8] + 56 * "0"))
    with pytest.raises(UserError, match=f"neither here nor could it be fetched .invalid hash value.*{digest[:8]}0000"):
        find_file("IMAGENET1K_V1", "train_wspn.weights")
    monkeypatch.setitem(TORCHVISION, "IMAGENET1K_V1", (file_name, digest))
    file = find_file("IMAGENET1K_V1", "train_wspn.weights")
    assert file == caches / "torch" / "hub" / "checkpoints" / file_name and content_digest(file) == digest


def test_another_file_in_the_place_of_torchvisions_weights_is_refused(miniature, caches):
    file = caches / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    torch.save({}, file)
    flags = ("--backbone", "resnet50", "--weights", "IMAGENET1K_V1", "--into", "resnet")
    output = miniature.stage("train_wspn", *flags, check=False)
    assert f"{file} does not hold what its name says" in output and "Traceback" not in output
