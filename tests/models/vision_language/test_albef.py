"""ALBEF and GradCAM against the arrays made with the authors' own network."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.grounding.gradcam import gradcam
from models.vision_language.albef import ALBEF
from models.vision_language.albef_checkpoint import CheckpointError
from store.fingerprint import ROOT

DATA = ROOT / "tests" / "data"
GOLDEN = {name: torch.from_numpy(array) for name, array in np.load(DATA / "albef_tiny.npz").items()}


def agree(ours, golden):
    assert (ours - golden).abs().max() < 1e-4 * golden.abs().max()


@pytest.fixture(scope="module")
def model():
    return ALBEF.from_checkpoint(DATA / "albef_tiny.pth", 64, vision_heads=4, text_heads=4)


def test_every_output_agrees(model):
    ids, mask = GOLDEN["input_ids"], GOLDEN["attention_mask"]
    image, text = model.encode_image(GOLDEN["image"]), model.encode_text(ids, mask)
    fused, _ = model.fuse(text, mask, image)
    agree(image, GOLDEN["image_embeds"])
    agree(text, GOLDEN["text"])
    agree(fused, GOLDEN["last"])
    agree(model.match_logits(fused), GOLDEN["itm"])
    agree(model.image_features(image), GOLDEN["image_feat"])
    agree(model.text_features(text), GOLDEN["text_feat"])


def test_gradcam_agrees(model):
    maps = gradcam(model, GOLDEN["image"], GOLDEN["input_ids"], GOLDEN["attention_mask"], int(GOLDEN["layer"]))
    agree(maps, GOLDEN["gradcam"])


def test_a_larger_image_resizes_the_position_embeddings():
    model = ALBEF.from_checkpoint(DATA / "albef_tiny.pth", 96, 4, 4)
    ids, mask = GOLDEN["input_ids"][:2], GOLDEN["attention_mask"][:2]
    fused, _ = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(GOLDEN["image_large"]))
    agree(model.match_logits(fused), GOLDEN["itm_large"])
    agree(gradcam(model, GOLDEN["image_large"], ids, mask, 2), GOLDEN["gradcam_large"])


def test_without_an_image_size_the_weights_say_it():
    model = ALBEF.from_checkpoint(DATA / "albef_tiny.pth", vision_heads=4, text_heads=4)
    assert model.image_size == 64
    agree(model.encode_image(GOLDEN["image"]), GOLDEN["image_embeds"])


def test_layout_of_the_full_size_network():
    sizes = {"image_size": 256, "patch": 16, "vision_width": 768, "vision_layers": 12, "vision_heads": 12}
    sizes |= {"vision_hidden": 3072, "vocabulary": 30522, "positions": 512, "text_width": 768, "text_layers": 12}
    sizes |= {"fusion_layer": 6, "text_heads": 12, "text_hidden": 3072, "projection": 256}
    with torch.device("meta"):
        model = ALBEF(**sizes)
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == json.loads((DATA / "albef_base_layout.json").read_text())


def weights():
    return torch.load(DATA / "albef_tiny.pth", weights_only=True)["model"]


def test_a_fine_tuned_sibling_loads_without_its_language_head(tmp_path, model):
    plain = {
        name.replace("text_encoder.bert.", "text_encoder."): tensor
        for name, tensor in weights().items()
        if not name.startswith("text_encoder.cls.") and "_m." not in name
    }
    torch.save(plain, tmp_path / "retrieval.pth")
    sibling = ALBEF.from_checkpoint(tmp_path / "retrieval.pth", 64, 4, 4)
    image = sibling.encode_image(GOLDEN["image"])
    agree(image, GOLDEN["image_embeds"])
    ids, mask = GOLDEN["input_ids"], GOLDEN["attention_mask"]
    fused, _ = sibling.fuse(sibling.encode_text(ids, mask), mask, image)
    agree(sibling.match_logits(fused), GOLDEN["itm"])
    agree(gradcam(sibling, GOLDEN["image"], ids, mask, int(GOLDEN["layer"])), GOLDEN["gradcam"])
    with pytest.raises(CheckpointError, match="masked-language head"):
        sibling.token_log_probs(GOLDEN["last"])


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    tensors = weights()
    del tensors["itm_head.bias"]
    tensors["visual_encoder.norm.weight"] = torch.zeros(7)
    tensors["extra.weight"] = torch.zeros(2)
    torch.save({"model": tensors}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        ALBEF.from_checkpoint(tmp_path / "odd.pth", 64, 4, 4)
    output = str(caught.value)
    assert "missing itm_head.bias" in output and "unknown extra.weight" in output
    assert "visual_encoder.norm.weight is (7,), wanted (48,)" in output


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_is_not_run(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        ALBEF.from_checkpoint(tmp_path / "evil.pth", 64)
    assert "code ran" not in capsys.readouterr().out


def test_a_closed_image_cls_changes_nothing_it_shows(model):
    closed = ALBEF.from_checkpoint(DATA / "albef_tiny.pth", 64, 4, 4)
    closed.image_cls_visible = False
    ids, mask = GOLDEN["input_ids"], GOLDEN["attention_mask"]
    image = closed.encode_image(GOLDEN["image"])
    other = image.clone()
    other[:, 0] = torch.randn_like(other[:, 0])
    text = closed.encode_text(ids, mask)
    assert torch.equal(closed.fuse(text, mask, image)[0], closed.fuse(text, mask, other)[0])
    assert not torch.equal(model.fuse(text, mask, image)[0], model.fuse(text, mask, other)[0])


def test_the_shipped_weights_say_how_they_were_made():
    with safe_open(ROOT / "data" / "weights" / "albef_toy.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["cap2mask"])["albef"]
    assert settings == {"vision_heads": 4, "text_heads": 4, "image_cls_visible": False}
