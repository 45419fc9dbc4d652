"""Finding the words of a caption that name a category: whole words, longest match first, plurals and counts."""

import re
from dataclasses import dataclass

import inflect

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_NUMBERS |= {"a": 1, "an": 1, "both": 2, "pair": 2, "couple": 2, "dozen": 12}
_FILLERS = 3


@dataclass(frozen=True)
class Mention:
    """A category named in characters start..end of a caption; count: objects meant, 0 where a plural has no number."""

    category: str
    surface: str
    start: int
    end: int
    count: int


class NounFinder:
    """A dictionary of phrases, looked up along a caption.

    categories: {category: its words, the name first}; ignore: phrases that are passed over, such as "hot dog".
    """

    def __init__(self, categories: dict[str, tuple[str, ...]], ignore: tuple[str, ...] = ()):
        self._phrases: dict[tuple[str, ...], tuple[str | None, bool]] = {}
        engine = inflect.engine()
        for phrase in ignore:
            for form in (phrase, engine.plural_noun(phrase)):
                self._phrases.setdefault(_words(form), (None, False))
        for category, names in categories.items():
            plurals = {plural for name in names for plural in (engine.plural_noun(name), name + "s")}
            for name in names:
                own_plural = engine.plural_noun(name) == name  # scissors: one pair unless told otherwise
                self._phrases.setdefault(_words(name), (category, name in plurals and not own_plural))
            for plural in sorted(plurals - set(names)):
                self._phrases.setdefault(_words(plural), (category, True))
        self._longest = max((len(phrase) for phrase in self._phrases), default=0)

    def find(self, text: str) -> list[Mention]:
        """The mentions in a caption, in order."""
        matches = list(_WORD.finditer(text.lower()))
        words = [match[0].removesuffix("'s") for match in matches]
        found, i = [], 0
        while i < len(words):
            for length in range(min(self._longest, len(words) - i), 0, -1):
                hit = self._phrases.get(tuple(words[i : i + length]))
                if hit:
                    category, plural = hit
                    if category:
                        start, last = matches[i].start(), matches[i + length - 1]
                        end = last.start() + len(words[i + length - 1])
                        count = _count(words, i) if plural else 1
                        found.append(Mention(category, text[start:end], start, end, count))
                    i += length - 1
                    break
            i += 1
        return found


def _words(phrase: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(phrase.lower()))


def _count(words: list[str], i: int) -> int:
    """The number before a plural, at most a few words ahead ("two small dogs"), 0 where there is none."""
    for word in reversed(words[max(0, i - _FILLERS) : i]):
        if word.isdigit():
            return int(word)
        if word in _NUMBERS and word not in ("a", "an", "one"):
            return _NUMBERS[word]
        if word in ("and", "with", "of", "in", "on", "near", "the"):
            return 0
    return 0
