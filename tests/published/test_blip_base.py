"""BLIP-base of the published size (ViT-B/16 at 384 pixels, 12 text layers), random weights, through the stage that asks
it: activation maps of every noun."""

import copy
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertTokenizerFast, BlipConfig, BlipForImageTextRetrieval

from tests.conftest import MINIATURE, Project
from tests.gpu.transformers_models import WORDS


@pytest.fixture(scope="module")
def blip_base(tmp_path_factory):
    torch.manual_seed(0)
    network = BlipForImageTextRetrieval(BlipConfig()).eval()
    assert sum(weight.numel() for weight in network.parameters()) > 220e6
    folder = tmp_path_factory.mktemp("blip")
    network.save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=True).save_pretrained(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.published
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_noun_has_its_maps(tmp_path, blip_base, precision):
    config = copy.deepcopy(MINIATURE) | {"toy": {"train": 2, "val": 1}}
    config["gradcam"] = {"score": "itm", "batch": 4}
    config["vision_language"] = {"model": "blip", "weights": str(blip_base), "image_size": 384, "layers": [8]}
    config["vision_language"] |= {"precision": precision}
    project = Project(tmp_path, config)
    project.snakemake("--until", "gradcam")
    maps = pd.read_parquet(project.run / "gradcam")
    named = pd.read_parquet(project.run / "nouns")[["image_id", "category"]].drop_duplicates()
    assert len(maps) == len(named) > 2 and set(maps.height) == {24}
    values = np.stack(maps.maps)
    assert values.shape == (len(maps), 3 * 24 * 24) and np.isfinite(values.astype(float)).all()
    assert values.min() >= 0 and (values.max(1) > 0).all() and np.isfinite(np.stack(maps.itm_logit)).all()
