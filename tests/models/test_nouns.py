"""Nouns of captions, with their traps."""

import pytest

from models.nouns import NounFinder

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
    ("text", "wanted"),
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
    ],
)
def test_nouns_of_a_caption(text, wanted):
    found = FINDER.find(text)
    assert [(m.category, m.surface, m.count) for m in found] == wanted
    assert all(text[m.start : m.end] == m.surface for m in found)
