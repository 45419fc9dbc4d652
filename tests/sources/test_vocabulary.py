"""Vocabulary files, shipped and bad."""

import json

import pytest

from sources.toy.drawings import CATEGORIES
from sources.vocabulary import Vocabulary, VocabularyError, read_vocabulary
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
        ('{"base": "cat"}', "'base' is 'cat', wanted a list"),
        ('{"base": ["cat"], "synonyms": {"cat": "kitten"}}', "synonyms of 'cat' is 'kitten', wanted a list"),
        ('{"base": ["cat"], "synonyms": ["kitten"]}', "'synonyms' is no object of lists"),
        ('{"base": ["cat"], "synonims": {"cat": ["kitten"]}}', "unknown key 'synonims': did you mean synonyms"),
        ('{"base": {"cat": 1}}', "wanted a list"),
        ('{"base": ["cat"], "novel": "dog"}', "'novel' is 'dog', wanted a list"),
        ('{"base": ["cat", ""]}', "'base' holds '', which is no text"),
        ('{"base": ["cat", 3, null]}', "'base' holds '3', which is no text; 'base' holds 'None'"),
        ('{"base": ["cat"], "ignore": [["hot", "dog"]]}', "'ignore' holds .* which is no text"),
        ('{"base": ["' + "c" * 201 + '"]}', "a name of 201 letters"),
        ('{"base": ["\\ud800"]}', "no text in Unicode"),
        ('{"base": ["cat"], "base": ["dog"]}', "the key 'base' stands twice"),
        (
            '{"base": ["traffic light"], "novel": ["Traffic  light"]}',
            "'Traffic  light' and 'traffic light' differ by case or",
        ),
        ('{"base": ["cat", "Cat "]}', "'Cat ' and 'cat' differ by case or spaces alone; keep one"),
        ('["cat"]', "wanted a JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_vocabulary_names_the_entry(tmp_path, content, message):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(VocabularyError, match=message) as error:
        read_vocabulary(tmp_path / "v.json")
    assert "v.json" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_notes_and_empty_entries_are_no_fault(tmp_path):
    content = {
        "base": ["cat", "猫", "R&B player"],
        "synonyms": None,
        "novel": None,
        "comment": "ours",
        "dataset": "",
        "source": "",
    }
    (tmp_path / "v.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_vocabulary(tmp_path / "v.json") == Vocabulary(base=("cat", "猫", "R&B player"), synonyms={})


def test_what_is_written_is_read_back(tmp_path):
    vocabulary = read_vocabulary(ROOT / "data" / "splits" / "coco.json")
    (tmp_path / "v.json").write_text(vocabulary.to_json())
    assert read_vocabulary(tmp_path / "v.json") == vocabulary
