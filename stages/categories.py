"""Settle the vocabulary: from a file, counted from the data set (Open Images), or of its labels; open mode adds what
the captions name (XPM, 3.2.2), for which a name may go without the other words that the file has for it."""

import logging

from pipeline.stage import Input, Stage

log = logging.getLogger("cap2mask")
_SHOWN = 10  # words that can't be found
STAGE = Stage(
    name="categories",
    reads=(
        Input("captions", when=lambda config: bool(config["categories"]["wordnet"])),
        Input("labels", when=lambda config: not config["vocabulary"]),
        Input("category_counts", when=lambda config: not config["vocabulary"]),
    ),
    writes=("categories",),
    shares=("vocabulary",),
)


def run(job) -> None:
    from dataclasses import replace

    from sources.vocabulary import Vocabulary, counted_vocabulary, read_vocabulary
    from structures.errors import UserError

    p = job.params
    if "vocabulary" in job.files:
        vocabulary = read_vocabulary(job.files["vocabulary"])
    elif p.base or p.novel:
        counts = {row["category"]: row["objects"] for row in job.rows("category_counts")}
        vocabulary = counted_vocabulary(counts, p.base, p.novel)
        neither = len(counts) - len(vocabulary.names)
        log.info(
            "%d base and %d novel of %d categories outlined; %d are neither", p.base, p.novel, len(counts), neither
        )
    else:
        labels = {row["category"] for row in job.rows("labels")}
        vocabulary = Vocabulary(base=tuple(sorted(labels)))
    synonyms = {
        name: words for name, words in (vocabulary.synonyms or {}).items() if vocabulary.group(name) in p.synonyms
    }
    vocabulary = replace(vocabulary, synonyms=synonyms)
    _tell_unfound(vocabulary)
    if "wordnet" in job.files:
        vocabulary = replace(vocabulary, open=_named(job, vocabulary))
    if not vocabulary.names:
        raise UserError(
            "no category is known: name a vocabulary file (config key vocabulary), or give the pictures labels, or "
            "point categories.wordnet at a WordNet folder, which takes the captions' nouns"
        )
    with job.file("categories/all.json") as draft:
        draft.write_text(vocabulary.to_json(), encoding="utf-8")


def _tell_unfound(vocabulary) -> None:
    """Say which words of the vocabulary no caption leads to."""
    from models.grounding.nouns import NounFinder
    from structures.errors import one_line

    unfound = NounFinder(**vocabulary.finder()).never_found()
    for category, word, why in unfound[:_SHOWN]:
        log.warning("%s", one_line(f"no caption leads to {category!r} by {word!r}: {why}"))
    if len(unfound) > _SHOWN:
        log.warning("and %d more words of the vocabulary", len(unfound) - _SHOWN)


def _named(job, vocabulary) -> tuple[str, ...]:
    """The nouns under WordNet's object that enough captions name and the vocabulary has no word for."""
    from collections import Counter

    from models.grounding.nouns import NounFinder
    from pipeline.captions import find_in_captions
    from sources.wordnet import object_nouns

    nouns = object_nouns(job.files["wordnet"])
    arguments = vocabulary.finder()
    taken = {word.lower() for words in arguments["categories"].values() for word in words}
    arguments["categories"] |= {noun: (noun,) for noun in sorted(nouns - taken)}
    counts: Counter[str] = Counter()
    finder = NounFinder(**arguments)
    searched = {"scheduler": job.params.scheduler, "description": "nouns under WordNet's object"}
    for mentions in find_in_captions(job, finder.find, **searched):
        counts.update(mentions.to_pandas().drop_duplicates(["image_id", "caption_id", "category"]).category)
    known = set(vocabulary.names)
    return tuple(sorted(name for name, count in counts.items() if count >= job.params.min_count and name not in known))


if __name__ == "__main__":
    STAGE.main(run)
