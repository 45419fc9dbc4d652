"""The benchmarks' baselines give what ours give, and rows say whether they hold."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.__main__ import RESULTS, ROWS, table
from benchmarks.measure import Row, seconds
from benchmarks.published import crop_network, gradcam_loop
from models.grounding.gradcam import iterative_gradcam
from models.vision_language.albef import ALBEF
from store.fingerprint import ROOT


def test_the_published_loop_makes_the_maps_that_batches_make():
    model = ALBEF.from_checkpoint(ROOT / "data/weights/albef_toy.safetensors", 96).float()
    torch.manual_seed(0)
    images, ids = torch.randn(3, 3, 96, 96), torch.randint(5, 60, (3, 8))
    mask, nouns = torch.ones_like(ids), torch.zeros(3, 8, dtype=torch.bool)
    nouns[:, 3] = True
    slow = gradcam_loop(model.requires_grad_(True), images, ids, mask, nouns, layer=2, iterations=2)
    model.requires_grad_(False)
    fast, _ = iterative_gradcam(
        model, images, torch.arange(3), ids, mask, nouns, layers=(2,), score="itm", mask_id=4, iterations=2
    )
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-3)


def test_the_published_crop_network_fills_a_square():
    crop, activation = torch.rand(3, 24, 24) * 0.2, torch.zeros(24, 24)
    crop[0, 6:18, 6:18] += 0.7
    activation[10:14, 10:14] = 1
    found = crop_network(crop, activation, channels=16, steps=60, lr=0.05, share=0.03)
    assert found[7:17, 7:17].mean() > 0.8 and found[:4].mean() < 0.2


@pytest.mark.parametrize(
    ("numbers", "holds"),
    [
        ({"ratio": 3.9, "wanted": 4.0}, False),
        ({"ratio": 4.0, "wanted": 4.0}, True),
        ({"ours": 4.9, "wanted": 5.0, "bound": True}, True),
        ({"ours": 5.1, "wanted": 5.0, "bound": True}, False),
        ({"ours": 5.1}, None),
        ({"wanted": 4.0}, None),
    ],
)
def test_a_row_says_whether_it_holds(numbers, holds):
    assert Row("a", "s", "sizes", **numbers).holds is holds
    assert Row("a", "s", "sizes", **numbers).as_json()["holds"] is holds


def test_seconds_are_the_median_after_a_warm_up():
    calls = []
    assert seconds(lambda: calls.append(0), runs=5) < 0.1
    assert len(calls) == 6


def test_one_row_runs_from_the_command_line():
    command = [sys.executable, "-m", "benchmarks", "--row", "nouns", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout.splitlines()[-1])
    assert row["name"] == "nouns" and row["ratio"] == pytest.approx(row["ours"] / row["baseline"])
    assert "| nouns |" in table([row])


def test_the_kept_results_have_the_rows_that_there_are():
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert {row["function"] for row in rows} == set(ROWS)
    assert all(np.isfinite(row["ours"]) for row in rows)
