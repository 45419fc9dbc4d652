"""nouns: captions a second of the dictionary walk against one regular expression a category."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Row, interleaved
from models.grounding.nouns import NounFinder
from sources.vocabulary import read_vocabulary
from store.fingerprint import ROOT


def _patterns(finder: NounFinder) -> dict[str, re.Pattern]:
    """For each category one expression of all its words, longest first."""
    words: dict[str, list[str]] = {}
    for phrase, category in finder.phrases():
        words.setdefault(category, []).append(re.escape(phrase))
    return {
        category: re.compile(rf"\b(?:{'|'.join(sorted(forms, key=len, reverse=True))})\b")
        for category, forms in words.items()
    }


def _quality(named: list[set[str]], truth: list[set[str]]) -> str:
    right = sum(len(a & b) for a, b in zip(named, truth))
    return f"precision {right / sum(map(len, named)):.3f}, recall {right / sum(map(len, truth)):.3f}"


def nouns(device: str) -> list[Row]:
    """The row: COCO's 65 categories, sentences as COCO has them, with what they name."""
    finder = NounFinder(**read_vocabulary(ROOT / "data/splits/coco.json").finder())
    patterns = _patterns(finder)
    pairs = json.loads(Path(__file__).with_name("captions.json").read_text(encoding="utf-8"))
    known = {category for _, category in finder.phrases()}
    captions, truth = [text for text, _ in pairs], [set(named) & known for _, named in pairs]

    def by_pattern(text: str) -> list[tuple[str, int, int]]:
        lower = text.lower()
        return [
            (category, *match.span()) for category, pattern in patterns.items() for match in pattern.finditer(lower)
        ]

    ours = [{mention.category for mention in finder.find(text)} for text in captions]
    theirs = [{category for category, _, _ in by_pattern(text)} for text in captions]
    same = sum(a == b for a, b in zip(ours, theirs)) / len(captions)

    def each(work: Callable[[str], object], texts: list[str]) -> None:
        for text in texts:  # results are dropped at once: a list of them would be walked by the garbage collector
            work(text)

    many, fewer = captions * 1000, captions * 100  # about a tenth and two tenths of a second
    comparison = interleaved(
        lambda: each(finder.find, many),
        lambda: each(by_pattern, fewer),
        units=len(many),
        baseline_units=len(fewer),
        runs=15,
    )
    return [
        Row(
            name="nouns",
            unit="captions/s",
            sizes=f"{len(captions)} captions of {sum(map(len, captions)) // len(captions)} letters, "
            f"{len(patterns)} categories",
            **asdict(comparison),
            wanted=20.0,
            agreement=f"equal on {100 * same:.1f} % of captions; ours {_quality(ours, truth)}, "
            f"theirs {_quality(theirs, truth)}",
        )
    ]
