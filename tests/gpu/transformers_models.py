"""Small random models as transformers saves them, whose tokenizers know the embedded world's words."""

from pathlib import Path

import torch
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

from sources.toy.captions import words

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words()]
LETTERS = "abcdefghijklmnopqrstuvwxyz.,0123456789-"


def save_bert(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    _save_word_pieces(folder)


def save_blip(folder: Path) -> None:
    torch.manual_seed(0)
    text = {"vocab_size": len(WORDS), "hidden_size": 32, "encoder_hidden_size": 40, "intermediate_size": 48}
    text |= {"num_hidden_layers": 3, "num_attention_heads": 4, "bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0}
    vision = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision |= {"image_size": 32, "patch_size": 16}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=24)
    config.image_text_hidden_size = 24
    BlipForImageTextRetrieval(config).eval().save_pretrained(folder)
    _save_word_pieces(folder)


def save_clip(folder: Path) -> None:
    torch.manual_seed(0)
    pieces = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    CLIPTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]).save_pretrained(folder)
    config = CLIPTextConfig(
        vocab_size=len(pieces), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=20, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).eval().save_pretrained(folder)


def _save_word_pieces(folder: Path) -> None:
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=True).save_pretrained(folder)
