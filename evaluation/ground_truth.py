"""Ground truth of an image in the order in which measures ask for it."""

from collections.abc import Iterable


def annotations_by_category(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """An image's rows of `annotations` by category, in the order in which they come."""
    annotations: dict[str, list[dict]] = {}
    for row in rows:
        annotations.setdefault(row["category"], []).append(row)
    return annotations


def categories_without_outline(rows: Iterable[dict]) -> set[str]:
    """The categories of which an object of an image has a box alone, so that what a mask meets there is not known."""
    return {row["category"] for row in rows if row["segmentation"] is None}
