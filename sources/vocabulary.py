"""The vocabulary: base and novel category names, open ones, their synonyms, and words that only look like a name."""

import difflib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from sources.json_files import read_json
from sources.lvis_categories import is_lvis, vocabulary_of
from sources.part import MAX_NAME, SourceError
from structures.errors import UserError, one_line

_SHOWN = 5  # faults of a vocabulary file


class VocabularyError(UserError):
    """A vocabulary that is missing or not what it should be."""


@dataclass(frozen=True)
class Vocabulary:
    """base, novel: category names; open: further names that are labelled but never measured; synonyms: {name: other
    words}; ignore: phrases that name nothing ("hot dog"); heads: words that make the name before them say what kind
    they are ("station" after "train"); verbs, adjectives: names that are a verb ("train") or an adjective ("orange",
    "remote") as well, for models.grounding.nouns to tell by what stands beside them."""

    base: tuple[str, ...]
    novel: tuple[str, ...] = ()
    synonyms: dict[str, tuple[str, ...]] | None = None
    ignore: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All categories: base, novel, open."""
        return self.base + self.novel + self.open

    @property
    def measured(self) -> tuple[str, ...]:
        """The categories that scores are about: base and novel."""
        return self.base + self.novel

    def group(self, name: str) -> str:
        """base, novel or open."""
        return next(group for group in ("base", "novel", "open") if name in getattr(self, group))

    def finder(self) -> dict:
        """The arguments of models.grounding.nouns.NounFinder."""
        words = {name: (name, *(self.synonyms or {}).get(name, ())) for name in self.names}
        lists = {name: getattr(self, name) for name in ("ignore", "heads", "verbs", "adjectives")}
        return {"categories": words, **lists}

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


_LISTS = ("base", "novel", "ignore", "heads", "verbs", "adjectives", "open")
_NOTES = ("dataset", "source", "comment")  # for people


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a JSON object of Vocabulary's fields; all but "base" may be left out. It may say dataset, source and comment. Or LVIS'
    annotations, as published: its rare categories are novel, the others base.

    Raises VocabularyError naming the file and the entry.
    """
    try:
        content = read_json(path, "point the config key vocabulary at a JSON file of names")
    except SourceError as error:
        raise VocabularyError(f"no vocabulary file: {error}") from error
    faults: list[str] = []
    if is_lvis(content):
        content, faults = vocabulary_of(content["categories"])
    if not isinstance(content, dict) or "base" not in content:
        raise VocabularyError(f"{path} is no vocabulary file: wanted a JSON object with a list 'base'")
    faults += [_unknown(key) for key in content if key not in (*_LISTS, "synonyms", *_NOTES)]
    faults += [fault for name in _LISTS for fault in _list_faults(content.get(name), repr(name))]
    synonyms = content.get("synonyms") or {}
    if isinstance(synonyms, dict):
        faults += [fault for name, words in synonyms.items() for fault in _list_faults(words, f"synonyms of {name!r}")]
    else:
        faults.append('\'synonyms\' is no object of lists, as {"dog": ["puppy"]}')
    if not faults:
        lists = {name: tuple(content.get(name) or ()) for name in _LISTS}
        names = lists["base"] + lists["novel"] + lists["open"]
        faults += [f"{name!r} stands twice" for name, count in Counter(names).items() if count > 1]
        faults += _spellings(names)
        known = set(names)
        faults += [f"synonyms of {name!r}, which is no category" for name in synonyms if name not in known]
        if not faults and names:
            return Vocabulary(synonyms={name: tuple(words) for name, words in synonyms.items()}, **lists)
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    raise VocabularyError(one_line(f"{path}: {'; '.join(faults[:_SHOWN]) or 'no category'}") + more)


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, (*_LISTS, "synonyms", *_NOTES), 1)
    return f"unknown key {key!r}" + (f": did you mean {near[0]}?" if near else "")


def _list_faults(words: object, name: str) -> list[str]:
    """What is wrong with a list of names; nothing where there is none."""
    if words is None:
        return []
    if not isinstance(words, list):
        return [f'{name} is {str(words)[:60]!r}, wanted a list, as ["dog", "cup"]']
    faults = []
    for word in words:
        if not isinstance(word, str) or not word.strip():
            faults.append(f"{name} holds {str(word)[:60]!r}, which is no text")
        elif len(word) > MAX_NAME:
            faults.append(f"{name} holds a name of {len(word)} letters, more than {MAX_NAME}")
        elif not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            faults.append(f"{name} holds {word!r}, which is no text in Unicode")
    return faults


def _spellings(names: tuple[str, ...]) -> list[str]:
    """Names that are the same words to whoever looks for them: they differ by case or spaces alone."""
    spelt: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        spelt.setdefault(" ".join(name.split()).casefold(), []).append(name)
    alike = [" and ".join(map(repr, spellings)) for spellings in spelt.values() if len(spellings) > 1]
    return [f"{spellings} differ by case or spaces alone; keep one" for spellings in alike]


def counted_vocabulary(counts: dict[str, int], base: int, novel: int) -> Vocabulary:
    """The `base` categories with most objects, and of the others the `novel` ones with fewest (XPM, 4: the 200 most
    common categories of Open Images, and the 100 rarest). Equal counts go by name. Raises VocabularyError."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    if len(order) < base + novel:
        raise VocabularyError(
            f"{base} base and {novel} novel categories are wanted, but the source outlines objects of {len(order)} "
            "only: lower categories.base and categories.novel, or name a vocabulary file"
        )
    return Vocabulary(base=tuple(order[:base]), novel=tuple(order[len(order) - novel :]) if novel else ())
