"""LVIS' categories (Gupta et al., 2019) as names, and as a vocabulary of open-vocabulary detection: those of few training images
are novel, the others base (ViLD, Gu et al., 2022)."""

import re
from collections import Counter

_GROUPS = {
    "f": "base",
    "c": "base",
    "r": "novel",
}  # frequent, common, rare: more than 100 training images, 11 to 100, up to 10
_QUALIFIED = re.compile(r"\s*\([^()]*\)")  # "bow (weapon)"


def category_name(name: str) -> str:
    """A name as words: "bow_(weapon)" is "bow (weapon)"."""
    return " ".join(name.replace("_", " ").split())


def is_lvis(content: object) -> bool:
    """Whether a JSON file's content is LVIS': annotations, and categories that say how frequent they are."""
    rows = content.get("categories") if isinstance(content, dict) and "annotations" in content else None
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) and "frequency" in row for row in rows)


def vocabulary_of(rows: list[dict]) -> tuple[dict, list[str]]:
    """The categories of LVIS' JSON as the content of a vocabulary file, and what is wrong with them.

    A word that several categories have is no synonym of any, but the name of the one that is called so; what stands in brackets
    is no part of a word.
    """
    names: dict[str, tuple[str, list[str]]] = {}
    faults = []
    for i, row in enumerate(rows):
        name, frequency, synonyms = (row.get(key) for key in ("name", "frequency", "synonyms"))
        if not isinstance(name, str) or not name.strip():
            faults.append(f"categories[{i}]: name is {name!r}, wanted a text")
        elif frequency not in _GROUPS:
            faults.append(f"categories[{i}], {name}: frequency is {frequency!r}, wanted one of {', '.join(_GROUPS)}")
        elif not isinstance(synonyms or [], list) or not all(isinstance(word, str) for word in synonyms or []):
            faults.append(f"categories[{i}], {name}: synonyms is {str(synonyms)[:60]}, wanted a list of texts")
        elif category_name(name) in names:
            faults.append(f"categories[{i}]: the name {name!r} stands twice")
        else:
            words = [_QUALIFIED.sub("", category_name(word)) for word in (name, *(synonyms or []))]
            names[category_name(name)] = frequency, list(dict.fromkeys(word for word in words if word))
    uses = Counter(word.casefold() for _, words in names.values() for word in {word.casefold(): word for word in words})
    taken = {name.casefold() for name in names}
    vocabulary: dict = {"base": [], "novel": [], "synonyms": {}}
    for name, (frequency, words) in sorted(names.items()):
        vocabulary[_GROUPS[frequency]].append(name)
        own = [word for word in words if uses[word.casefold()] == 1 and word.casefold() not in taken]
        if own:
            vocabulary["synonyms"][name] = own
    return vocabulary, faults
