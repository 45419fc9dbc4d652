"""gradcam: pairs a second of the batched maps against the published loop, ALBEF-base, G = 3."""

from dataclasses import asdict

import torch

from benchmarks.measure import Row, interleaved, seconds
from benchmarks.published import gradcam_loop
from models.grounding.gradcam import iterative_gradcam
from models.vision_language.albef import ALBEF

BASE = {"patch": 16, "vision_width": 768, "vision_layers": 12, "vision_heads": 12, "vision_hidden": 3072}
BASE |= {"vocabulary": 30522, "positions": 512, "text_width": 768, "text_layers": 12, "fusion_layer": 6}
BASE |= {"text_heads": 12, "text_hidden": 3072, "projection": 256, "image_size": 256}
LAYER, G, TOKENS, NOUN = 8, 3, 30, 4


def _work(count: int, device: str) -> tuple:
    """Pictures with one noun each, from fixed random numbers."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 256, 256, generator=generator)
    ids = torch.randint(1000, 30000, (count, TOKENS), generator=generator)
    nouns = torch.zeros(count, TOKENS, dtype=torch.bool)
    nouns[:, NOUN] = True
    return tuple(tensor.to(device) for tensor in (images, ids, torch.ones_like(ids), nouns))


def albef_base(device: str) -> ALBEF:
    """ALBEF of the published size with random weights."""
    torch.manual_seed(0)
    return ALBEF(**BASE).eval().to(device)


def gradcam(device: str) -> list[Row]:
    """The row; on a GPU also pairs a second in bf16, masked per pair, and how far its maps are from fp32."""
    model = albef_base(device)
    batch = 128 if device == "cuda" else 4
    options = {"layers": (LAYER,), "score": "itm", "mask_id": 103, "iterations": G}

    def ours(model, images, ids, mask, nouns, **more):
        model.requires_grad_(False)
        image_index = torch.arange(len(images), device=images.device)
        return iterative_gradcam(model, images, image_index, ids, mask, nouns, **options, **more)[0]

    def published(images, ids, mask, nouns):
        return gradcam_loop(model.requires_grad_(True), images, ids, mask, nouns, layer=LAYER, iterations=G)

    two, many = _work(2, device), _work(batch, device)
    published_maps = published(*two)
    difference = (ours(model, *two) - published_maps).abs()
    comparison = interleaved(
        lambda: ours(model, *many, together=True),
        lambda: published(*two),
        units=batch,
        baseline_units=2,
        device=device,
    )
    details = {"largest_difference_first_iteration": float(difference[:, 0].max())}
    row = Row(
        name="gradcam",
        unit="images/s",
        sizes=f"ALBEF-base, 256 px, {TOKENS} tokens, G={G}, one masked image an image; batch {batch}, baseline 2",
        **asdict(comparison),
        wanted=20.0 if device == "cuda" else 4.0,
        agreement=f"maps differ by at most {float(difference.max()):.0e} "
        f"of a mean of {float(published_maps.mean()):.2f}",
        details=details,
    )
    fp32_maps = ours(model, *two)[:, 0]
    half = albef_base(device).in_bf16()
    bf16_maps = ours(half, *two)[:, 0]
    details["bf16_relative_difference"] = float((fp32_maps - bf16_maps).norm() / fp32_maps.norm())
    rows = [row]
    if device == "cuda":
        rate = batch / seconds(lambda: ours(half, *many), device)
        rows.append(
            Row(
                name="gradcam_pairs",
                unit="pairs/s",
                sizes=f"as gradcam, bf16, masked per pair, batch {batch}",
                ours=rate,
                baseline=1000.0,
                wanted=1.0,
                agreement=f"maps within {100 * details['bf16_relative_difference']:.2f} % of fp32",
            )
        )
    return rows
