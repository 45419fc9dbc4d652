"""Rows of tables as dicts, in memory."""

from collections.abc import Iterable


def group_by_image(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """{image_id: its rows} in their order. For tables that fit into memory, sorted or not."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["image_id"], []).append(row)
    return groups
