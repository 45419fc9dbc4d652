"""The benchmarks' rows for a GPU at small sizes, so that a pretended GPU measures them in seconds.

python tests/gpu/pretend_gpu.py tests/gpu/small_benchmarks.py train_detector rates.propose
"""

import json
import sys
from functools import wraps
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import crops, detector, grounding, published, rates
from benchmarks.__main__ import run_row
from benchmarks.measure import seconds

PICTURES, PIXELS = 2, {"min_size": 96, "max_size": 128}


def smaller(build, **sizes):
    """`build` with these of its arguments, whatever it is asked for."""
    return wraps(build)(lambda *args, **kwargs: build(*args, **(kwargs | sizes)))


def fewer(function):
    """`function` for PICTURES of what its first argument counts."""
    return wraps(function)(lambda count, *args, **kwargs: function(min(count, PICTURES), *args, **kwargs))


def shrink() -> None:
    """One timed run of each side, few pictures, few pixels, few layers. The networks stay what they are."""
    for module in (crops, detector, grounding):
        module.interleaved = smaller(module.interleaved, runs=1)
    for module in (crops, grounding, rates):
        module.seconds = lambda work, device, *_: seconds(work, device, 1)
    grounding.BASE |= {"vision_layers": 2, "text_layers": 4, "fusion_layer": 2, "image_size": 64}
    grounding.LAYER = 2
    work = grounding._work
    grounding._work = lambda count, device: tuple(
        part[..., :64, :64] if part.ndim == 4 else part for part in work(min(count, PICTURES), device)
    )
    crops.COMPARED = 1
    crops.embedded_crops = fewer(crops.embedded_crops)
    crops.crop_network = smaller(published.crop_network, channels=8, steps=3)
    crops.segment_crops = smaller(crops.segment_crops, steps=2)
    crops._alone = smaller(crops._alone, steps=2)
    detector._batch = fewer(detector._batch)
    for module, name in (
        (detector, "OpenVocabularyMaskRCNN"),
        (detector, "MaskRCNN"),
        (rates, "OpenVocabularyMaskRCNN"),
        (rates, "CaptionGroundedMaskRCNN"),
        (rates, "RobustStudent"),
    ):
        setattr(module, name, smaller(getattr(module, name), **PIXELS))
    rates.WSPN = smaller(rates.WSPN, min_size=96, hidden=32)


def measured(name: str) -> list[dict]:
    """The rows of a function of the benchmarks, or of a stage of benchmarks.rates."""
    if name.startswith("rates."):
        row = rates.measure(rates.Rates("cuda", PICTURES), name.removeprefix("rates."), 1)
        return [{"name": name, "ours": row["rate"], "device": rates.machine("cuda")}]
    return run_row(name, "cuda")


if __name__ == "__main__":
    shrink()
    rows = [row for name in sys.argv[1:] for row in measured(name)]
    print("\nrows: " + json.dumps(rows))
