"""The pairs (image, noun) that are grounded: of each image and category the first caption that names it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sources.images import ImageError, read_image


@dataclass(frozen=True)
class Pair:
    """One noun of one picture. image: height x width x 3 uint8; spans: characters of the noun in the caption."""

    image_id: str
    category: str
    caption_id: str
    text: str
    spans: tuple[tuple[int, int], ...]
    image: np.ndarray


def named_pairs(root: Path, images: list[dict], nouns: list[dict], reject: Callable) -> tuple[Iterator[Pair], int]:
    """The pairs in the order of their ids, pictures read as they are asked for, and how many there are.

    A picture that can't be read is put aside by reject(image_id, reason, detail), once.
    """
    paths = {row["image_id"]: row["path"] for row in images}
    texts = {(row["image_id"], row["caption_id"]): row["text"] for row in nouns}
    spans: dict[tuple[str, str], dict[str, list]] = {}
    for row in nouns:
        by_caption = spans.setdefault((row["image_id"], row["category"]), {})
        by_caption.setdefault(row["caption_id"], []).append((row["start"], row["end"]))

    def pairs() -> Iterator[Pair]:
        shown, image = None, None
        for image_id, category in sorted(spans):
            if image_id != shown:
                shown, image = image_id, None
                try:
                    image = read_image(root, paths[image_id])
                except ImageError as error:
                    reject(image_id, error.reason, str(error))
            if image is not None:
                caption_id = min(spans[image_id, category])
                marks = tuple(spans[image_id, category][caption_id])
                yield Pair(image_id, category, caption_id, texts[image_id, caption_id], marks, image)

    return pairs(), len(spans)
