"""The nouns under object, from a WordNet of a few words in the format of its database files."""

import pytest

from sources.wordnet import WordNetMissing, object_nouns

# lemma, its senses as (name, hypernym); the first sense is the most frequent
SYNSETS = {"entity": None, "object": "entity", "artifact": "object", "dog": "object", "umbrella": "artifact"}
SYNSETS |= {"act": "entity", "run": "act", "train_set": "artifact", "draft": "act", "catch": "artifact"}


def write(folder):
    """data.noun and index.noun with true offsets, the other parts of speech empty; lexnames is left out, as Debian
    does."""
    header = "  1 This software and database is being provided to you. WordNet 3.0 Copyright 2006\n"
    width = len(header)
    offsets = {}
    for name in SYNSETS:
        offsets[name] = width
        width += len(record(name, offsets | dict.fromkeys(SYNSETS, 0)))
    (folder / "data.noun").write_text(header + "".join(record(name, offsets) for name in SYNSETS))
    senses = {name: [name] for name in SYNSETS} | {"draft": ["draft", "catch"]}
    lines = []
    for name in sorted(senses):
        numbers = " ".join(f"{offsets[sense]:08d}" for sense in senses[name])
        lines.append(f"{name} n {len(senses[name])} 1 @ {len(senses[name])} 0 {numbers}  \n")
    (folder / "index.noun").write_text(header + "".join(lines))
    for word in ("verb", "adj", "adv"):
        for kind in ("index", "data"):
            (folder / f"{kind}.{word}").write_text(header)
    return folder


def record(name, offsets):
    pointers = [("@", SYNSETS[name])] if SYNSETS[name] else []
    pointers += [("~", below) for below, above in SYNSETS.items() if above == name]
    links = "".join(f" {symbol} {offsets[other]:08d} n 0000" for symbol, other in pointers)
    return f"{offsets[name]:08d} 03 n 01 {name} 0 {len(pointers):03d}{links} | a {name}  \n"


def test_nouns_whose_first_senses_are_objects(tmp_path):
    nouns = object_nouns(write(tmp_path))
    assert nouns == {"object", "artifact", "dog", "umbrella", "train set", "catch", "draft"}


def test_a_folder_without_wordnet_says_where_to_get_it(tmp_path):
    with pytest.raises(WordNetMissing, match=r"index\.noun.*wordnet-base.*categories\.wordnet"):
        object_nouns(tmp_path)
    write(tmp_path)
    (tmp_path / "data.noun").write_text("damaged")
    with pytest.raises(WordNetMissing, match="can't be read as WordNet"):
        object_nouns(tmp_path)
