"""The nouns under WordNet's *object* (XPM, 3.2.2), from a folder of WordNet's own files, read by nltk."""

import io
import warnings
from pathlib import Path

from structures.errors import UserError

REMEDY = (
    "install Debian's wordnet-base (then /usr/share/wordnet), or unpack nltk_data's corpora/wordnet, and point the "
    "config key categories.wordnet at the folder"
)
_NEEDED = tuple(f"{kind}.{word}" for word in ("noun", "verb", "adj", "adv") for kind in ("index", "data"))
_LEXICOGRAPHERS = 45  # files that WordNet was written in; only their number is needed


class WordNetMissing(UserError):
    """No WordNet where one was said to be."""


def object_nouns(folder: Path) -> set[str]:
    """The nouns, in lower case, with spaces in those of several words, one of whose two most frequent senses is an
    object: object.n.01 stands above it. Words that are an adjective or adverb as well ("white", "down") are left out,
    and so are those of two letters, which plurals make of others ("has").

    Raises WordNetMissing where the folder holds no WordNet.
    """
    folder = Path(folder)
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise WordNetMissing(f"{folder} holds no WordNet ({', '.join(missing)} not there): {REMEDY}")
    try:
        reader = _reader(folder)
        top = reader.synset("object.n.01")
        below, waiting = {top.offset()}, [top]
        while waiting:
            for synset in waiting.pop().hyponyms():
                if synset.offset() not in below:
                    below.add(synset.offset())
                    waiting.append(synset)
        nouns = set()
        for lemma in reader.all_lemma_names("n"):
            if len(lemma) < 3 or reader.synsets(lemma, "a") or reader.synsets(lemma, "r"):
                continue
            if any(synset.offset() in below for synset in reader.synsets(lemma, "n")[:2]):
                nouns.add(lemma.replace("_", " "))
        return nouns
    except Exception as error:  # nltk raises whatever its parsing meets in a damaged file
        raise WordNetMissing(f"{folder} can't be read as WordNet ({error!r}): {REMEDY}") from error


def _reader(folder: Path):
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):
        """nltk's, content with Debian's package, which leaves the file lexnames out, and without other languages."""

        def open(self, file):
            if file == "lexnames" and not (folder / file).is_file():
                return io.StringIO("".join(f"{i:02d}\tlexicographer.{i}\t1\n" for i in range(_LEXICOGRAPHERS)))
            if file.endswith(".exc") and not (folder / file).is_file():
                return io.StringIO("")
            return super().open(file)

        def map_wn(self, version="wordnet"):
            return None

    folder = folder.resolve()
    if str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))  # nltk opens no file outside the folders that are named there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reader(str(folder), None)
