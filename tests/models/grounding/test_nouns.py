"""Nouns of captions, with their traps."""

import pytest

from models.grounding.nouns import NounFinder
from sources.vocabulary import read_vocabulary
from store.fingerprint import ROOT
from tests.models.grounding.nouns_captions import cases

FINDER = NounFinder(
    {
        "bear": ("bear",),
        "dog": ("dog", "puppy"),
        "person": ("person", "man", "men", "people"),
        "bus": ("bus",),
        "mouse": ("mouse",),
        "keyboard": ("keyboard",),
        "scissors": ("scissors",),
        "knife": ("knife",),
    },
    ("hot dog", "teddy bear"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man walks two small dogs.", [("person", "man", 1), ("dog", "dogs", 2)]),
        ("a hot dog beside a teddy bear and a bear", [("bear", "bear", 1)]),
        ("several buses", [("bus", "buses", 0)]),
        ("a mouse beside the keyboard", [("mouse", "mouse", 1), ("keyboard", "keyboard", 1)]),
        ("a pair of scissors and some knives", [("scissors", "scissors", 1), ("knife", "knives", 0)]),
        ("three men and 4 puppies", [("person", "men", 3), ("dog", "puppies", 4)]),
        ("the man's dog", [("person", "man", 1), ("dog", "dog", 1)]),
        ("busy boards, bearing doggedly", []),
        ("two hot dogs and mice", [("mouse", "mice", 0)]),
        ("", []),
        ("10000000000 dogs, 9999 mice", [("dog", "dogs", 0), ("mouse", "mice", 9999)]),
        ("9" * 5000 + " knives", [("knife", "knives", 0)]),
    ],
)
def test_nouns_of_a_caption(text, expected):
    mentions = FINDER.find(text)
    assert [(m.category, m.surface, m.count) for m in mentions] == expected
    assert all(text[m.start : m.end] == m.surface for m in mentions)


def test_precision_and_recall_over_written_captions(capsys):
    finder = NounFinder(**read_vocabulary(ROOT / "data/splits/coco.json").finder())
    assert len(cases()) >= 100
    right = wrong = missed = 0
    for text, expected in cases():
        categories = {mention.category for mention in finder.find(text)}
        right, wrong, missed = (
            right + len(categories & expected),
            wrong + len(categories - expected),
            missed + len(expected - categories),
        )
        if categories != expected:
            print(f"{text}: too many {sorted(categories - expected)}, missing {sorted(expected - categories)}")
    precision, recall = right / (right + wrong), right / (right + missed)
    with capsys.disabled():
        print(f"\nnouns of {len(cases())} captions: precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= 0.96 and recall >= 0.96


def test_words_that_no_caption_leads_to_are_told():
    finder = NounFinder(
        {"cat": ("cat", "kitty"), "Cat": ("Cat",), "???": ("???",), "猫": ("猫",), "dog": ("dog", "kitty", "hot dog")},
        ("hot dog",),
    )
    told = {(category, word) for category, word, _ in finder.never_found()}
    assert told == {("Cat", "Cat"), ("???", "???"), ("猫", "猫"), ("dog", "kitty"), ("dog", "hot dog")}
    for category, word in told:
        assert category not in {mention.category for mention in finder.find(f"a {word} here")}
    assert not NounFinder(**read_vocabulary(ROOT / "data/splits/coco.json").finder()).never_found()
