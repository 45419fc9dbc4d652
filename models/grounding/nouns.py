"""Finding the words of a caption that name a category: whole words, longest match first, plurals and counts, and what
only looks like a name: verbs ("athletes train"), adjectives ("an orange cat"), the first half of another thing's name
("train station")."""

import re
from typing import NamedTuple

import inflect

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_BETWEEN = re.compile(r"[^a-z0-9']+")
_QUOTES = re.compile(r"(?<![a-z0-9])'|'(?![a-z])")  # that are not inside a word
_SPACED = bytes(code if chr(code).isalnum() or chr(code) == "'" else 32 for code in range(256))
_new = tuple.__new__  # a Mention without the call of a constructor in Python


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NUMBERS = dict(zip(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), range(1, 11)))
_NUMBERS |= {"both": 2, "pair": 2, "couple": 2, "dozen": 12}
_FILLERS = 3
_DIGITS = 4  # of a number that counts objects in a picture
_ENDS_COUNT = {"and", "with", "of", "in", "on", "near", "the"}

_COLOURS = _set("red green blue yellow black white brown purple pink gray grey silver gold tan teal beige orange")
_SHADES = _set("bright dark light pale burnt deep neon vivid color colour painted colored coloured wearing dyed")
_OF_BEING = {"in", "is", "are", "was", "were", "looks", "turned"}
_AFTER_A_NOUN = _set(
    """a an the and or on in at with is are was were sits sit stands lies lay to from by next near beside behind under
    of for that which it its while as has have hangs rests inside outside over above below against between among who
    whose being cut sliced peeled placed split half halves this these up down out off there one two three"""
)
_THINGS_IN_ING = _set("building ceiling railing clothing awning painting ring wing string king sling lighting")
_BEFORE_A_VERB = _set("to who not will would can could should may might must they we i you he she")
_OBJECTS_OF_VERBS = _set("a an the his her their its my our your him them it himself herself themselves")
_BEFORE_A_NOUN = (
    _set("a an the this that these those his her their its my our your some any many several no another each")
    | _set("of with on in at by and or near under over beside behind from into for like as")
    | set(_NUMBERS)
)
_PERSONS = _set(
    """man woman boy girl person child kid guy lady player coach trainer skier chef male female toddler rider surfer
    adult teenager athlete father mother somebody someone he she"""
)
_PLURAL_PERSONS = {"people", "men", "women", "children"}


class Mention(NamedTuple):
    """A category named in characters start..end of a caption; count: objects meant, 0 where a plural has no number."""

    category: str
    surface: str
    start: int
    end: int
    count: int


class NounFinder:
    """A dictionary of phrases, looked up along a caption.

    categories: {category: its words, the name first}; ignore: phrases that are passed over, such as "hot dog"; heads:
    words that make the name before them part of another thing's name; verbs, adjectives: words that are one as well.
    """

    def __init__(
        self,
        categories: dict[str, tuple[str, ...]],
        ignore: tuple[str, ...] = (),
        heads: tuple[str, ...] = (),
        verbs: tuple[str, ...] = (),
        adjectives: tuple[str, ...] = (),
    ):
        self._categories = categories
        self._phrases: dict[tuple[str, ...], tuple[str | None, bool]] = {}
        engine = inflect.engine()
        for phrase in ignore:
            for form in _plurals(engine, phrase) | {phrase}:
                self._phrases.setdefault(_words(form), (None, False))
        for category, names in categories.items():
            plurals = {name: _plurals(engine, name) for name in names}
            every = set().union(*plurals.values())
            for name in names:
                unchanged = name in plurals[name]  # scissors: one pair, unless a number says otherwise
                self._phrases.setdefault(_words(name), (category, name in every and not unchanged))
            for plural in sorted(every - set(names)):
                self._phrases.setdefault(_words(plural), (category, True))
        self._phrases.pop((), None)
        self._longest: dict[str, int] = {}  # by first word
        for phrase in self._phrases:
            self._longest[phrase[0]] = max(self._longest.get(phrase[0], 0), len(phrase))
        self._heads = {form for head in heads for form in _plurals(engine, head) | {head}}
        self._verbs = {form: form != verb for verb in verbs for form in (verb, *_plurals(engine, verb))}
        self._adjectives = set(adjectives)
        seconds: dict[str, set[str]] = {}  # words that come second in a phrase, by the first
        for phrase in self._phrases:
            if len(phrase) > 1:
                seconds.setdefault(phrase[0], set()).add(phrase[1])
        doubtful = self._verbs.keys() | self._adjectives
        self._plain = {  # by word: what it names alone, and the words that make it something else if they follow
            words[0]: (*hit, self._heads | seconds.get(words[0], set()))
            for words, hit in self._phrases.items()
            if len(words) == 1 and hit[0] and words[0] not in doubtful
        }

    def phrases(self) -> list[tuple[str, str]]:
        """(phrase, category) of every form that is looked for."""
        return [(" ".join(words), category) for words, (category, _) in self._phrases.items() if category]

    def never_found(self) -> list[tuple[str, str, str]]:
        """(category, word, why) of every word of a category that no caption can lead to."""
        unfound = []
        for category, names in self._categories.items():
            for name in names:
                words = _words(name)
                owner = self._phrases.get(words, (None, False))[0]
                if not words:
                    unfound.append((category, name, "it has no letter from a to z and no digit"))
                elif owner is None:
                    unfound.append((category, name, "it is to be ignored"))
                elif owner != category:
                    unfound.append((category, name, f"it is a word for {owner} first"))
        return unfound

    def find(self, text: str) -> list[Mention]:
        """The mentions in a caption, in order."""
        lower = text.lower()
        if len(lower) != len(
            text
        ):  # a letter whose small form is two: one by one, so that characters keep their places
            lower = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
        if lower.isascii():
            spaced = f" {lower.encode().translate(_SPACED).decode()} "
        else:
            spaced = f" {_BETWEEN.sub(_blank, lower)} "
        if "'" in text:
            spaced = _QUOTES.sub(_blank, spaced).replace("'s ", "   ")
        words = spaced.split()
        first_words, plain = self._longest, self._plain
        mentions: list[Mention] = []
        i, free, place = -1, 0, 0
        for word in [word for word in words if word in first_words]:
            i = words.index(word, i + 1)
            if i < free:
                continue
            start = spaced.index(f" {word} ", place)  # in `spaced` everything is one character further on
            place = start + len(word)
            alone = plain.get(word)
            if alone and (i + 1 == len(words) or words[i + 1] not in alone[2]):
                category, plural, _ = alone
            else:
                (category, plural), length = self._longest_phrase(words, i)
                for part in words[i + 1 : i + length]:
                    place = spaced.index(f" {part} ", place) + len(part)
                free = i + length
                if category is None or self._only_looks_so(spaced, lower, words, i, length, place):
                    continue
            count = _count(words[max(0, i - _FILLERS) : i]) if plural else 1
            mentions.append(_new(Mention, (category, text[start:place], start, place, count)))
        return mentions

    def _longest_phrase(self, words: list[str], i: int) -> tuple[tuple[str | None, bool], int]:
        """The longest phrase that starts at words[i], as (category or None, whether a plural), and how many words."""
        for length in range(min(self._longest[words[i]], len(words) - i), 0, -1):
            hit = self._phrases.get(tuple(words[i : i + length]))
            if hit:
                return hit, length
        return (None, False), 1

    def _only_looks_so(self, spaced: str, lower: str, words: list[str], i: int, length: int, place: int) -> bool:
        """Whether words[i : i + length] is no thing here: a verb, an adjective, or the first half of a name."""
        after = _next(spaced, lower, words, i + length, place)
        if after in self._heads:
            return True
        if length > 1:
            return False
        word, before = words[i], words[i - 1] if i else ""
        if word in self._verbs and _is_verb(words, i, after, third_person=self._verbs[word] or word == "skis"):
            return True
        return word in self._adjectives and _is_adjective(words, i, before, after)


def _next(spaced: str, lower: str, words: list[str], i: int, place: int) -> str:
    """words[i], where nothing but space is between it and the character `place`; else nothing."""
    if i == len(words):
        return ""
    start = spaced.index(f" {words[i]} ", place)
    return words[i] if lower[place:start].removeprefix("'s").isspace() else ""


def _blank(match: re.Match) -> str:
    return " " * len(match[0])


def _is_verb(words: list[str], i: int, after: str, third_person: bool) -> bool:
    before = words[i - 1] if i else ""
    if before in _BEFORE_A_VERB:
        return before != "to" or not third_person
    if third_person and before in _PERSONS:
        return True
    plural = before in _PLURAL_PERSONS or (before.endswith("s") and not before.endswith(("ss", "us", "is", "as")))
    if not third_person and plural and before not in _BEFORE_A_NOUN:
        return True
    return bool(before) and before not in _BEFORE_A_NOUN and after in _OBJECTS_OF_VERBS


def _is_adjective(words: list[str], i: int, before: str, after: str) -> bool:
    if words[i] in _COLOURS:
        if before in _SHADES or before in _OF_BEING:
            return True
        if before in ("and", "or") and i > 1 and words[i - 2] in _COLOURS:
            return True
        if after in ("and", "or") and i + 2 < len(words) and words[i + 2] in _COLOURS:
            return True
    if not after or after in _AFTER_A_NOUN:
        return False
    return not after.endswith("ing") or after in _THINGS_IN_ING


def _plurals(engine: inflect.engine, name: str) -> set[str]:
    return {form for form in (engine.plural_noun(name), name + "s") if form}


def _words(phrase: str) -> tuple[str, ...]:
    return tuple(word.removesuffix("'s") for word in _WORD.findall(phrase.lower()))


def _count(before: list[str]) -> int:
    """The number before a plural, at most a few words ahead ("two small dogs"), 0 where there is none, or one beyond what
    a picture holds."""
    for word in reversed(before):
        if word.isdecimal():
            return int(word) if len(word) <= _DIGITS else 0
        if word in _NUMBERS and word != "one":
            return _NUMBERS[word]
        if word in _ENDS_COUNT:
            return 0
    return 0
