"""The pairs (image, noun) that are grounded: of each image and category the first caption that names it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sources.images import ImageError, picture_or_fault


@dataclass(frozen=True)
class Pair:
    """One noun of one picture. image: what `prepare` made of the picture; spans: characters of the noun in the caption."""

    image_id: str
    category: str
    caption_id: str
    text: str
    spans: tuple[tuple[int, int], ...]
    image: Any


def named_pairs(
    root: Path, path: str, nouns: list[dict], prepare: Callable[[np.ndarray], Any]
) -> list[Pair] | ImageError:
    """The pairs of one image in the order of their categories, or the picture's fault.

    path: of the picture below root; nouns: the image's rows of that table; prepare: takes the picture, height x width x 3
    uint8, once for all of its pairs.
    """
    image = picture_or_fault(root, path, prepare)
    if isinstance(image, ImageError):
        return image
    spans: dict[str, dict[str, list]] = {}
    for row in nouns:
        spans.setdefault(row["category"], {}).setdefault(row["caption_id"], []).append((row["start"], row["end"]))
    texts = {row["caption_id"]: row["text"] for row in nouns}
    pairs = []
    for category, by_caption in sorted(spans.items()):
        first = min(by_caption)
        pairs.append(Pair(nouns[0]["image_id"], category, first, texts[first], tuple(by_caption[first]), image))
    return pairs
