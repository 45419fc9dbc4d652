"""The full-size network from a file of random weights: both layouts, fp32 and bf16, 256 and 384 px, memory at load."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from store.fingerprint import ROOT

LAYOUT = json.loads((ROOT / "tests" / "data" / "albef_base_layout.json").read_text())
PROBE = """
import json, resource, sys
import numpy as np, torch
from models.vision_language.albef import ALBEF
from models.grounding.gradcam import gradcam
from models.pixels import normalise_colours, square

def largest(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path, size, dtype, picture = sys.argv[1], int(sys.argv[2]), getattr(torch, sys.argv[3]), np.load(sys.argv[4])
before = largest()
model = ALBEF.from_checkpoint(path, size, dtype=dtype)
loaded = largest() - before
images = normalise_colours(square(picture, size)[None], model.image_mean, model.image_std).to(dtype)
ids = torch.tensor([[101, 1037, 4937, 2006, 1037, 2793, 102, 0]])
mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0]])
maps = gradcam(model, images, ids, mask, 8)
print(json.dumps({"loaded": loaded, "used": largest() - before, "shape": list(maps.shape),
                  "finite": bool(maps.isfinite().all()), "weights": sum(w.numel() for w in model.parameters()),
                  "padded": float(maps[0, -1].abs().max())}))
"""


def random_weights(dtype):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in LAYOUT.items():
        if name.endswith("position_ids"):
            tensors[name] = torch.arange(shape[-1]).unsqueeze(0)
        else:
            tensors[name] = torch.empty(shape, dtype=dtype).normal_(std=0.02, generator=generator)
    return tensors


def probe(tmp_path, path, size, dtype):
    picture = tmp_path / "picture.npy"
    np.save(picture, np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    command = [sys.executable, "-c", PROBE, str(path), str(size), dtype, str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The layout of ALBEF.pth, half of whose size momentum copies and queues are: here two of them."""
    path = tmp_path_factory.mktemp("full") / "ALBEF.pth"
    tensors = random_weights(torch.float32)
    extra = {"visual_encoder_m.cls_token": torch.zeros(1, 1, 768), "image_queue": torch.zeros(256, 65536)}
    torch.save({"model": tensors | extra, "epoch": 0}, path)
    yield path
    path.unlink()


def test_published_layout_in_fp32_at_256(published, tmp_path):
    report = probe(tmp_path, published, 256, "float32")
    assert report["shape"] == [1, 8, 16, 16] and report["finite"] and report["padded"] == 0
    assert report["weights"] > 209e6
    size = published.stat().st_size
    assert report["loaded"] < 0.2 * size, "the file's pages are used where they lie"
    assert report["used"] < 1.6 * size


@pytest.mark.published
def test_fine_tuned_layout_in_bf16_at_384(tmp_path):
    path = tmp_path / "grounding.pth"
    tensors = random_weights(torch.bfloat16)
    plain = {
        name.replace("text_encoder.bert.", "text_encoder."): tensor
        for name, tensor in tensors.items()
        if not name.startswith("text_encoder.cls.")
    }
    torch.save(plain, path)
    report = probe(tmp_path, path, 384, "bfloat16")
    path.unlink()
    assert report["shape"] == [1, 8, 24, 24] and report["finite"]
