"""Ground truth in the order in which measures ask for it."""

from collections.abc import Iterable


def annotations_by_image_and_category(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
    """The rows of `annotations` by (image_id, category), in the order in which they come."""
    annotations: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        annotations.setdefault((row["image_id"], row["category"]), []).append(row)
    return annotations
