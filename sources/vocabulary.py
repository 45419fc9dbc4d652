"""The vocabulary: base and novel category names, open ones, their synonyms, and words that only look like a name."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from structures.errors import UserError


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


_LISTS = ("novel", "ignore", "heads", "verbs", "adjectives", "open")


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a JSON object of Vocabulary's fields; all but "base" may be left out.

    Raises VocabularyError naming the file and the entry.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        base = tuple(content["base"])
        lists = {name: tuple(content.get(name) or ()) for name in _LISTS}
        synonyms = {name: tuple(words) for name, words in (content.get("synonyms") or {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VocabularyError(
            f"{path} is no vocabulary file: {error!r}; wanted a JSON object with a list 'base'"
        ) from error
    names = base + lists["novel"] + lists["open"]
    known = set(names)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(known) < len(names) else []
    faults = [f"{name!r} stands twice" for name in twice]
    faults += [f"synonyms of {name!r}, which is no category" for name in synonyms if name not in known]
    texts = (*base, *(text for texts in lists.values() for text in texts))
    faults += [f"{name!r} is no text" for name in texts if not isinstance(name, str) or not name.strip()]
    if faults or not names:
        raise VocabularyError(f"{path}: {'; '.join(faults) or 'no category'}")
    return Vocabulary(base=base, synonyms=synonyms, **lists)


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
