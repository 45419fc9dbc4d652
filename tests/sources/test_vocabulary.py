"""Vocabulary files, shipped and bad."""

import pytest

from sources.toy.drawings import CATEGORIES
from sources.vocabulary import VocabularyError, read_vocabulary
from store.fingerprint import ROOT


def test_the_world_has_enough_of_the_papers_categories():
    vocabulary = read_vocabulary(ROOT / "data" / "splits" / "toy.json")
    coco = read_vocabulary(ROOT / "data" / "splits" / "coco.json")
    assert len(coco.base) == 48 and len(coco.novel) == 17
    assert len(vocabulary.base) >= 16 and len(vocabulary.novel) >= 8
    assert set(vocabulary.base) <= set(coco.base) and set(vocabulary.novel) <= set(coco.novel)
    assert set(vocabulary.names) == set(CATEGORIES)
    assert all(len(category.drawings) >= 2 for category in CATEGORIES.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no vocabulary file"),
        ('{"novel": ["a"]}', "base"),
        ('{"base": ["cat"], "novel": ["cat"]}', "'cat' stands twice"),
        ('{"base": ["cat"], "synonyms": {"dog": ["hound"]}}', "synonyms of 'dog'"),
        ('{"base": []}', "no category"),
    ],
)
def test_a_bad_vocabulary_names_the_entry(tmp_path, content, message):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(VocabularyError, match=message):
        read_vocabulary(tmp_path / "v.json")
