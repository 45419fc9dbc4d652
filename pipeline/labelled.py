"""A run's labels as writers of formats take them: pictures with captions and labels, of tables read side by side."""

import heapq
from collections.abc import Callable, Iterable, Iterator

from exports.labelled import Category, Labelled
from sources.images import is_packed
from sources.vocabulary import Vocabulary
from store.join import join_by_image
from structures.label_ids import label_id
from structures.masks import box_of


def labelled(
    name: str,
    vocabulary: Vocabulary,
    *,
    images: Callable[[], Iterable[dict]],
    labels: Callable[[], Iterable[dict]],
    captions: Callable[[], Iterable[dict]] = tuple,
    nouns: Callable[[], Iterable[dict]] = tuple,
    sources: tuple[str, ...] = (),
    **functions: Callable,
) -> Labelled:
    """images, labels, captions, nouns: the rows of the tables, sorted by image, as often as they are asked for. labels: of
    kept_labels, without a label's id. sources: the names of several. functions: content and left_out, of exports.labelled.Labelled."""

    def entries() -> Iterator[tuple[dict, list[dict]]]:
        for _, ([image], rows, texts, named) in join_by_image(images(), labels(), captions(), nouns()):
            known = {"captions": [row["text"] for row in texts], "named": sorted({row["category"] for row in named})}
            yield image | known, [row | {"label": label_id(row)} for row in rows]

    functions["is_packed"] = lambda image: is_packed(image["path"])
    categories = tuple(
        Category(category, vocabulary.group(category), (vocabulary.synonyms or {}).get(category, ()))
        for category in vocabulary.names
    )
    return Labelled(name, categories, entries, sources=sources, **functions)


def as_kept(rows: Iterable[dict], confidence: Callable[[float], float]) -> Iterator[dict]:
    """Rows with image_id, category, instance, score and segmentation as rows of kept_labels, which nobody looked at.
    confidence: of a score, 0 to 1."""
    for row in rows:
        yield {
            "image_id": row["image_id"],
            "category": row["category"],
            "instance": row["instance"],
            "bbox": box_of(row["segmentation"]),
            "confidence": confidence(row["score"]),
            "segmentation": row["segmentation"],
            "area": row["area"],
            "decided_by": "",
        }


def worst_images(labels: Iterable[dict], count: int) -> set[str]:
    """The ids of the images of the `count` labels of least confidence among those that nobody looked at."""
    waiting = (row for row in labels if not row["decided_by"])
    keyed = ((row["confidence"], place, row["image_id"]) for place, row in enumerate(waiting))
    return {image_id for _, _, image_id in heapq.nsmallest(count, keyed)}
