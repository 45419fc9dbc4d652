"""Captions of any letters and any length: nouns stand where they are said to, counts fit, time grows with length alone."""

import functools

import pytest

from models.grounding.nouns import NounFinder
from sources.part import MAX_CAPTION, text_fault
from sources.vocabulary import read_vocabulary
from store.fingerprint import ROOT
from tests.faults.limits import Limited
from tests.faults.mutations import TEXTS

pytestmark = pytest.mark.faults
WORDS = ("dog", "dogs", "two", "10000000000", "9" * 300, "hot dog", "teddy bears", "train", "trains", "orange", "an orange",
         "'s", "'", "it's", "a", "of", "and", "é", "İ", "ß", "ﬁ", "\u0130dog", "dog\u0307", "DOGS", "-", "\n", "\t", "\u2028")  # fmt: skip


@functools.cache
def finder() -> NounFinder:
    return NounFinder(**read_vocabulary(ROOT / "data/splits/coco.json").finder())


def outcome(text: str) -> str:
    fault = text_fault({"image_id": "1", "text": text})
    if fault:
        assert len(text) > MAX_CAPTION or any("\ud800" <= letter <= "\udfff" for letter in text)
        return fault.reason
    place = 0
    phrases = set(finder().phrases())
    for mention in finder().find(text):
        assert place <= mention.start < mention.end <= len(text) and 0 <= mention.count < 2**31
        assert text[mention.start : mention.end] == mention.surface
        words = " ".join(
            "".join(c if c.isascii() and (c.isalnum() or c == "'") else " " for c in mention.surface.lower()).split()
        )
        assert (words.replace("'s ", " ").removesuffix("'s"), mention.category) in phrases, mention
        place = mention.end
    return "read"


@pytest.fixture(scope="module")
def limited():
    limited = Limited(seconds=5)
    yield limited
    limited.close()


def test_nouns_stand_where_they_are_said_to(campaign, limited):
    def check(rng) -> None:
        parts = [
            rng.choice(WORDS)
            if rng.random() < 0.8
            else rng.choice(TEXTS)
            if rng.random() < 0.5
            else chr(rng.randrange(0x110000))
            for _ in range(rng.choice((1, 3, 10, 60, 2500)))
        ]
        limited(outcome, rng.choice(("", " ", " ", ", ")).join(parts))

    campaign.run(check, each=50)
