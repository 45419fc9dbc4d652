"""Ground truth in the order in which measures ask for it, and which images count."""

from collections.abc import Collection, Iterable


def annotations_by_image_and_category(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
    """The rows of `annotations` by (image_id, category), in the order in which they come."""
    annotations: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        annotations.setdefault((row["image_id"], row["category"]), []).append(row)
    return annotations


def images_holding(annotations: Iterable[dict], categories: Collection[str]) -> set[str]:
    """The images that hold an annotation of one of the categories, a crowd or not.

    With COCO's base and novel categories these are the 4,836 validation images of XPM, 4.1.
    """
    return {row["image_id"] for row in annotations if row["category"] in categories}


def pairs_without_outline(annotations: Iterable[dict]) -> set[tuple[str, str]]:
    """The (image_id, category) of which an object has a box alone, so that what a mask meets there is not known."""
    return {(row["image_id"], row["category"]) for row in annotations if row["segmentation"] is None}
