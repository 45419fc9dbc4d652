"""Vocabulary files with changed bytes and members: the names that the file holds, or one line."""

import json

import pytest

from models.grounding.nouns import NounFinder
from sources.vocabulary import VocabularyError, read_vocabulary
from tests.faults.mutations import mutated_bytes, mutated_tree

pytestmark = pytest.mark.faults
CONTENT = {
    "dataset": "ours",
    "base": ["dog", "dragon fruit", "train"],
    "novel": ["cat"],
    "open": ["umbrella"],
    "synonyms": {"dog": ["puppy", "hound"], "cat": ["kitten"]},
    "ignore": ["hot dog"],
    "heads": ["station"],
    "verbs": ["train"],
    "adjectives": ["orange"],
}


def outcome(file) -> str:
    try:
        vocabulary = read_vocabulary(file)
    except VocabularyError as error:
        text = str(error)
        text.encode()
        assert len(text.splitlines()) == 1 and len(text) < 1200 and file.name in text
        return "refused"
    content = json.loads(file.read_bytes())
    for name in ("base", "novel", "open", "ignore", "heads", "verbs", "adjectives"):
        assert list(getattr(vocabulary, name)) == (content.get(name) or []), name
    assert {name: list(words) for name, words in vocabulary.synonyms.items()} == (content.get("synonyms") or {})
    finder = NounFinder(**vocabulary.finder())
    unfound = {(category, word) for category, word, _ in finder.never_found()}
    for category in vocabulary.names:
        for word in (category, *vocabulary.synonyms.get(category, ())):
            found = {mention.category for mention in finder.find(f"{word}. ")}
            assert not found or category in found or (category, word) in unfound, (category, word, found)
    return "read"


def test_a_changed_vocabulary_is_what_it_says_or_refused(campaign, tmp_path, limited):
    def check(rng) -> None:
        content = json.dumps(mutated_tree(CONTENT, rng) if rng.random() < 0.7 else CONTENT).encode()
        (tmp_path / "v.json").write_bytes(mutated_bytes(content, rng) if rng.random() < 0.4 else content)
        limited(outcome, tmp_path / "v.json")

    campaign.run(check, each=20)
