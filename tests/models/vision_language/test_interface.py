"""Models by name: BLIP against transformers' own forward pass, text models, and what is said of others."""

import json

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
from models.vision_language.interface import ModelError, load_model, load_text_embedder
from models.vision_language.prompts import name_vectors
from models.vision_language.tokens import encode
from store.fingerprint import ROOT
from structures.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "cat", "dog", "##s", "on", "bed", "."]
TOY = ROOT / "data" / "weights" / "albef_toy.safetensors"


TEXT = {"max_tokens": 12, "precision": "fp32"}
GROUNDING = TEXT | {"image_size": 48}


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
    model, _ = load_model("blip", blip_folder, None, **GROUNDING)
    images, ids, mask = batch()
    fused, _ = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(images))
    with torch.no_grad():
        expected = model.network(ids, images, attention_mask=mask, interpolate_pos_encoding=True).itm_score
    torch.testing.assert_close(model.match_logits(fused), expected)


def test_blips_gradcam_is_that_of_a_full_backward_pass(blip_folder):
    model, _ = load_model("blip", blip_folder, None, **GROUNDING)
    images, ids, mask = batch()
    maps = gradcam(model, images, ids, mask, 1)
    assert maps.shape == (2, 7, 3, 3) and maps[1, 4:].abs().max() == 0
    network = BlipForImageTextRetrieval.from_pretrained(blip_folder).eval()
    seen = {}

    def keep(module, given, returned):
        returned[1].retain_grad()
        seen["weights"] = returned[1]

    network.text_encoder.encoder.layer[1].crossattention.self.register_forward_hook(keep)
    network(ids, images, attention_mask=mask, interpolate_pos_encoding=True).itm_score[:, 1].sum().backward()
    expected = (seen["weights"] * seen["weights"].grad.clamp(min=0)).mean(1)[..., 1:] * mask[..., None]
    torch.testing.assert_close(maps, expected.unflatten(-1, (3, 3)).detach())


def test_blip_has_no_language_head_and_says_so(blip_folder):
    model, _ = load_model("blip", blip_folder, None, **GROUNDING)
    with pytest.raises(UserError, match=r"gradcam\.score to itm"):
        model.token_log_probs(torch.zeros(1, 2, 32))
    assert load_text_embedder("blip", blip_folder, None, **TEXT)(["a cat", "a dog"]).shape == (2, 24)


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
    embed = load_text_embedder("clip", tmp_path, None, **TEXT)
    tokens = CLIPTokenizerFast.from_pretrained(tmp_path)(["a cat"], return_tensors="pt")
    with torch.no_grad():
        expected = network(**tokens).text_embeds
    torch.testing.assert_close(embed(["a cat", "dog"])[:1], expected)


def test_bert_is_the_mean_of_a_names_word_pieces(tmp_path, tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = BertModel(BertConfig(vocab_size=len(WORDS), **sizes))
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    vectors = load_text_embedder("bert", tmp_path, None, **TEXT)(["dogs", "cat"])
    words = network.get_input_embeddings().weight
    torch.testing.assert_close(vectors[0], (words[WORDS.index("dog")] + words[WORDS.index("##s")]) / 2)
    torch.testing.assert_close(vectors[1], words[WORDS.index("cat")].detach())


class Touch:
    """Pickled, code that makes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_no_code_of_a_models_folder_is_run(tmp_path, tokenizer):
    folder, sign = tmp_path / "bert", tmp_path / "run"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, classes in (("config", ("AutoConfig", "AutoModel")), ("tokenizer_config", ("AutoTokenizer",))):
        file = folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": dict.fromkeys(classes, "own.Own")}))
    (folder / "own.py").write_text(f"open({str(sign)!r}, 'w')\n\n\nclass Own:\n    pass\n")
    assert load_text_embedder("bert", folder, None, **TEXT)(["cat"]).shape == (1, 16)
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Touch(sign)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is no folder of a BERT model"):
        load_text_embedder("bert", folder, None, **TEXT)
    assert not sign.exists()


def test_prompts_are_averaged_at_unit_length():
    embed = load_text_embedder("albef", TOY, None, max_tokens=32, precision="fp32")
    prompts = ["a {}", "a photo of a {}."]
    [vector, other] = name_vectors(embed, ["cat", "dragon fruit"], prompts)
    expected = F.normalize(embed(["a cat", "a photo of a cat."]), dim=1).mean(0)
    torch.testing.assert_close(vector, expected / expected.norm())
    assert other.norm().item() == pytest.approx(1)


def test_albefs_text_is_that_of_the_model_for_grounding_whatever_the_image_size():
    embed = load_text_embedder("albef", TOY, None, max_tokens=32, precision="fp32")
    for image_size in (96, 168):
        model, tokenizer = load_model("albef", TOY, None, image_size=image_size, max_tokens=32, precision="fp32")
        ids, mask, _ = encode(tokenizer, ["a cat"])
        assert torch.equal(embed(["a cat"]), model.text_features(model.encode_text(ids, mask)))


@pytest.mark.parametrize("name", ["sharp", "losses", "vit", "../albef"])
def test_a_file_that_is_no_model_is_refused_with_the_models_there_are(tmp_path, name):
    with pytest.raises(ModelError, match=r"with a function load; there are albef, blip$"):
        load_model(name, tmp_path, None)
    with pytest.raises(ModelError, match=r"with a function load_text; there are albef, bert, blip, clip$"):
        load_text_embedder(name, tmp_path, None)


def test_a_model_of_text_alone_grounds_nothing(tmp_path):
    with pytest.raises(ModelError, match=r"models/vision_language/clip\.py with a function load;"):
        load_model("clip", tmp_path, None)


@pytest.mark.parametrize("name", ["blip", "clip", "bert"])
def test_a_folder_without_the_model_is_named(tmp_path, name):
    with pytest.raises(ModelError, match=f"{tmp_path.name} is no folder of a ({name.upper()} model|BLIP matching)"):
        load_text_embedder(name, tmp_path, None, **TEXT)
