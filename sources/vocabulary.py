"""The vocabulary file: base and novel category names, their synonyms, and phrases that only look like a name."""

import json
from dataclasses import dataclass
from pathlib import Path


class VocabularyError(ValueError):
    """A vocabulary file that is missing or not what it should be."""


@dataclass(frozen=True)
class Vocabulary:
    """base, novel: category names; synonyms: {name: other words}; ignore: phrases that name nothing ("hot dog")."""

    base: tuple[str, ...]
    novel: tuple[str, ...]
    synonyms: dict[str, tuple[str, ...]]
    ignore: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All categories, base ones first."""
        return self.base + self.novel

    def group(self, name: str) -> str:
        """base or novel."""
        return "base" if name in self.base else "novel"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read {"base": [...], "novel": [...], "synonyms": {...}, "ignore": [...]}; the last two may be left out.

    Raises VocabularyError naming the file and the entry.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        base, novel = tuple(content["base"]), tuple(content.get("novel", ()))
        synonyms = {name: tuple(words) for name, words in content.get("synonyms", {}).items()}
        ignore = tuple(content.get("ignore", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VocabularyError(
            f"{path} is no vocabulary file: {error!r}; wanted a JSON object with a list 'base'"
        ) from error
    names = base + novel
    faults = [f"{name!r} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f"synonyms of {name!r}, which is no category" for name in synonyms if name not in names]
    faults += [f"{name!r} is no text" for name in (*names, *ignore) if not isinstance(name, str) or not name.strip()]
    if faults or not names:
        raise VocabularyError(f"{path}: {'; '.join(faults) or 'no category'}")
    return Vocabulary(base, novel, synonyms, ignore)
