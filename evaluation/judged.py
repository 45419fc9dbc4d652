"""What can be scored where people judged some categories of an image and not all (Open Images, its challenge's metric; LVIS).

A detection of a category that nobody judged in its image is ignored: it may be right. With a hierarchy of categories, an
object is one of every ancestor of its category, too; who judged a category present judged its ancestors present, who
judged it absent judged its descendants absent. Of a category that is not annotated exhaustively in an image more objects may be
there than are annotated, and so more of its ancestors.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

Judged = Mapping[str, frozenset[str]]  # {image_id: categories}; an image that is not in it was judged for all
Ancestors = Mapping[str, Sequence[str]]  # {category: the categories that it is a kind of}


def judged_categories(rows: Iterable[dict], image_ids: Container[str], ancestors: Ancestors | None = None) -> Judged:
    """The categories judged in each of the images, from rows of the table `judged`."""
    ancestors = ancestors or {}
    descendants: dict[str, list[str]] = {}
    for category, above in ancestors.items():
        for ancestor in above:
            descendants.setdefault(ancestor, []).append(category)
    judged: dict[str, set[str]] = {}
    for row in rows:
        if row["image_id"] not in image_ids:
            continue
        implied = (ancestors if row["present"] else descendants).get(row["category"], ())
        judged.setdefault(row["image_id"], set()).update((row["category"], *implied))
    return {image_id: frozenset(categories) for image_id, categories in judged.items()}


def not_exhaustive_pairs(
    rows: Iterable[dict], image_ids: Container[str], ancestors: Ancestors | None = None
) -> set[tuple[str, str]]:
    """The (image_id, category) that are not annotated exhaustively, from rows of the table `judged`."""
    return {
        (row["image_id"], category)
        for row in rows
        if not row["exhaustive"] and row["image_id"] in image_ids
        for category in (row["category"], *(ancestors or {}).get(row["category"], ()))
    }


def of_judged(rows: Iterable[dict], judged: Judged, but: Collection[tuple[str, str]] = frozenset()) -> Iterator[dict]:
    """The rows (with image_id and category) whose category was judged in their image. but: (image_id, category) that are left
    out."""
    for row in rows:
        was_judged = row["image_id"] not in judged or row["category"] in judged[row["image_id"]]
        if was_judged and (row["image_id"], row["category"]) not in but:
            yield row


def with_ancestors(annotations: Iterable[dict], ancestors: Ancestors) -> Iterator[dict]:
    """Every row of `annotations`, and behind it itself again as an object of each ancestor of its category."""
    for row in annotations:
        yield row
        for ancestor in ancestors.get(row["category"], ()):
            yield row | {"category": ancestor}
