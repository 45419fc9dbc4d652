"""The pairs (image, noun) that are grounded: of each image and category the first caption that names it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """One noun of one picture. text: the caption; spans: characters of the noun in it; image: what the caller prepared
    of the picture, one object for all pairs of the picture."""

    image_id: str
    category: str
    caption_id: str
    text: str
    spans: tuple[tuple[int, int], ...]
    image: Any


def instances_wanted(nouns: list[dict], most: int) -> dict[str, int]:
    """How many objects the captions of one image mean by each category, at most `most`; of a plural without a number as
    many as that. nouns: the image's rows of the table nouns."""
    wanted: dict[str, int] = {}
    for noun in nouns:
        wanted[noun["category"]] = max(wanted.get(noun["category"], 1), min(noun["count"] or most, most))
    return wanted


def named_pairs(nouns: list[dict], image: Any) -> list[Pair]:
    """The pairs of one image, in the order of their categories.

    nouns: the image's rows of the table nouns, at least one; image: what the caller prepared of the picture.
    """
    spans: dict[str, dict[str, list]] = {}
    for row in nouns:
        spans.setdefault(row["category"], {}).setdefault(row["caption_id"], []).append((row["start"], row["end"]))
    texts = {row["caption_id"]: row["text"] for row in nouns}
    pairs = []
    for category, by_caption in sorted(spans.items()):
        first = min(by_caption)
        pairs.append(Pair(nouns[0]["image_id"], category, first, texts[first], tuple(by_caption[first]), image))
    return pairs
