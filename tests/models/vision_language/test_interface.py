"""Models by name: BLIP against transformers' own forward pass, text models, and what is said of others."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    BlipConfig,
    BlipForImageTextRetrieval,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizerFast,
)

from models.grounding.gradcam import gradcam
from models.vision_language.interface import UnknownModel, load_model, load_text_embedder
from models.vision_language.prompts import name_vectors
from store.fingerprint import ROOT
from structures.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "cat", "dog", "##s", "on", "bed", "."]
TOY = ROOT / "data" / "weights" / "albef_toy.safetensors"


def options(**changes):
    given = {
        "model": "blip",
        "image_size": 48,
        "max_tokens": 12,
        "precision": "fp32",
        "vision_heads": 4,
        "text_heads": 4,
    }
    return SimpleNamespace(**given | changes)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=True)


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory, tokenizer):
    torch.manual_seed(0)
    text = {"vocab_size": len(WORDS), "hidden_size": 32, "encoder_hidden_size": 40, "intermediate_size": 48}
    text |= {"num_hidden_layers": 3, "num_attention_heads": 4, "bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0}
    vision = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BlipConfig(
        text_config=text, vision_config=vision | {"image_size": 32, "patch_size": 16}, projection_dim=24
    )
    config.image_text_hidden_size = 24
    folder = tmp_path_factory.mktemp("blip")
    BlipForImageTextRetrieval(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def batch():
    torch.manual_seed(1)
    ids = torch.tensor([[2, 5, 8, 11, 5, 12, 3], [2, 9, 10, 3, 0, 0, 0]])
    return torch.randn(2, 3, 48, 48), ids, (ids > 0).long()


def test_blip_matches_as_transformers_has_it(blip_folder):
    model, _ = load_model(blip_folder, None, options())
    images, ids, mask = batch()
    fused, _ = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(images))
    with torch.no_grad():
        wanted = model.network(ids, images, attention_mask=mask, interpolate_pos_encoding=True).itm_score
    torch.testing.assert_close(model.match_logits(fused), wanted)


def test_blips_gradcam_is_that_of_a_full_backward_pass(blip_folder):
    model, _ = load_model(blip_folder, None, options())
    images, ids, mask = batch()
    found = gradcam(model, images, ids, mask, 1)
    assert found.shape == (2, 7, 3, 3) and found[1, 4:].abs().max() == 0
    network = BlipForImageTextRetrieval.from_pretrained(blip_folder).eval()
    seen = {}

    def keep(module, given, returned):
        returned[1].retain_grad()
        seen["weights"] = returned[1]

    network.text_encoder.encoder.layer[1].crossattention.self.register_forward_hook(keep)
    network(ids, images, attention_mask=mask, interpolate_pos_encoding=True).itm_score[:, 1].sum().backward()
    wanted = (seen["weights"] * seen["weights"].grad.clamp(min=0)).mean(1)[..., 1:] * mask[..., None]
    torch.testing.assert_close(found, wanted.unflatten(-1, (3, 3)).detach())


def test_blip_has_no_language_head_and_says_so(blip_folder):
    model, _ = load_model(blip_folder, None, options())
    with pytest.raises(UserError, match=r"gradcam\.score to itm"):
        model.token_log_probs(torch.zeros(1, 2, 32))
    assert load_text_embedder(blip_folder, None, options())(["a cat", "a dog"]).shape == (2, 24)


def test_clip_text_features(tmp_path):
    pieces = {
        "<|startoftext|>": 0,
        "<|endoftext|>": 1,
        "a</w>": 2,
        "cat</w>": 3,
        "dog</w>": 4,
        "c": 5,
        "d": 6,
        "o": 7,
        "g": 8,
    }
    pieces |= {"a": 9, "t": 10, "t</w>": 11, "g</w>": 12, "ca": 13, "do": 14}
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    CLIPTokenizerFast(vocab=pieces, merges=merges).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(pieces), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=20, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    network = CLIPTextModelWithProjection(config).eval()
    network.save_pretrained(tmp_path)
    embed = load_text_embedder(tmp_path, None, options(model="clip"))
    tokens = CLIPTokenizerFast.from_pretrained(tmp_path)(["a cat"], return_tensors="pt")
    with torch.no_grad():
        wanted = network(**tokens).text_embeds
    torch.testing.assert_close(embed(["a cat", "dog"])[:1], wanted)


def test_bert_is_the_mean_of_a_names_word_pieces(tmp_path, tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = BertModel(BertConfig(vocab_size=len(WORDS), **sizes))
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    vectors = load_text_embedder(tmp_path, None, options(model="bert"))(["dogs", "cat"])
    words = network.get_input_embeddings().weight
    torch.testing.assert_close(vectors[0], (words[WORDS.index("dog")] + words[WORDS.index("##s")]) / 2)
    torch.testing.assert_close(vectors[1], words[WORDS.index("cat")].detach())


def test_prompts_are_averaged_at_unit_length():
    embed = load_text_embedder(TOY, None, options(model="albef", image_size=96, max_tokens=32))
    prompts = ["a {}", "a photo of a {}."]
    [vector, other] = name_vectors(embed, ["cat", "dragon fruit"], prompts)
    wanted = F.normalize(embed(["a cat", "a photo of a cat."]), dim=1).mean(0)
    torch.testing.assert_close(vector, wanted / wanted.norm())
    assert other.norm().item() == pytest.approx(1)


def test_unknown_models_and_folders_are_named(tmp_path):
    with pytest.raises(UnknownModel, match=r"models/sharp\.py with a function load"):
        load_model(tmp_path, None, options(model="sharp"))
    with pytest.raises(UnknownModel, match=r"models/clip\.py with a function load$"):
        load_model(tmp_path, None, options(model="clip"))
    for name in ("blip", "clip", "bert"):
        with pytest.raises(
            UnknownModel, match=f"{Path(tmp_path).name} is no folder of a {name.upper()} model|BLIP matching"
        ):
            load_text_embedder(tmp_path, None, options(model=name))
