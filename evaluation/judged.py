"""What can be scored where people judged some categories of an image and not all (Open Images, its challenge's metric; LVIS).

A detection of a category that nobody judged in its image is ignored: it may be right. With a hierarchy of categories, an
object is one of every ancestor of its category, too; who judged a category present judged its ancestors present, who
judged it absent judged its descendants absent. Of a category that is not annotated exhaustively in an image more objects may be
there than are annotated, and so more of its ancestors. Where a data set has several sources, a picture that one of them
annotates was judged for what that one annotates, and not for the categories of others.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

Judged = frozenset[str] | None  # the categories that an image was judged for; None: for all
Ancestors = Mapping[str, Sequence[str]]  # {category: the categories that it is a kind of}


class Judges:
    """What people judged, under a hierarchy of the categories, if there is one."""

    def __init__(self, ancestors: Ancestors | None = None, of_sources: Iterable[dict] = ()):
        """of_sources: rows of the table `source_categories`."""
        self._implied: dict[bool, Mapping[str, Sequence[str]]] = {True: ancestors or {}, False: {}}
        for category, above in (ancestors or {}).items():
            for ancestor in above:
                self._implied[False].setdefault(ancestor, []).append(category)
        self._of_source = {
            source: names.union(*(of.get(name, ()) for name in names for of in self._implied.values()))
            for source, names in categories_of_sources(of_sources).items()
        }

    def judged(self, image_id: str, rows: Iterable[dict]) -> Judged:
        """The categories judged in an image, from its rows of the table `judged`."""
        categories: set[str] = set()
        for row in rows:
            categories.update((row["category"], *self._implied[row["present"]].get(row["category"], ())))
        return frozenset(categories) or self._of_source.get(source_of(image_id))

    def not_exhaustive(self, rows: Iterable[dict]) -> frozenset[str]:
        """The categories that are not annotated exhaustively in an image, from its rows of the table `judged`."""
        ancestors = self._implied[True]
        partial = [row["category"] for row in rows if not row["exhaustive"]]
        return frozenset(name for category in partial for name in (category, *ancestors.get(category, ())))


def source_of(image_id: str) -> str:
    """The source of an image, where a data set has several: what its id begins with."""
    return image_id.partition("/")[0]


def categories_of_sources(rows: Iterable[dict]) -> dict[str, frozenset[str]]:
    """{source: the categories that each of its pictures without rows of `judged` was judged for}, from rows of the table
    `source_categories`."""
    names: dict[str, set[str]] = {}
    for row in rows:
        names.setdefault(row["source"], set()).add(row["category"])
    return {source: frozenset(of_source) for source, of_source in names.items()}


def of_judged(rows: Iterable[dict], judged: Judged, but: Container[str] = frozenset()) -> list[dict]:
    """The rows of an image (with category) whose category was judged in it. but: categories that are left out."""
    return [row for row in rows if (judged is None or row["category"] in judged) and row["category"] not in but]


def with_ancestors(annotations: Iterable[dict], ancestors: Ancestors) -> Iterator[dict]:
    """Every row of `annotations`, and behind it itself again as an object of each ancestor of its category."""
    for row in annotations:
        yield row
        for ancestor in ancestors.get(row["category"], ()):
            yield row | {"category": ancestor}
