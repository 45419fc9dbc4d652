"""The shipped weights of the embedded run."""

import json

from store.fingerprint import ROOT

WEIGHTS = ROOT / "data" / "weights" / "albef_toy.safetensors"


def test_weights_say_how_they_were_made():
    from safetensors import safe_open

    with safe_open(WEIGHTS, "pt") as file:
        settings = json.loads(file.metadata()["albef"])
    assert settings == {"vision_heads": 4, "text_heads": 4, "image_cls_visible": False}
