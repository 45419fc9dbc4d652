"""What the gallery's charts are drawn from besides its rows: training curves, average precision, counts of rejects."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from evaluation.gallery.pictures import number

POINTS = 200  # of one line of a curve


def curve(rows: Iterable[dict]) -> dict[str, list[list[float]]]:
    """{name: [[step, value], …]} of a training curve (step, name, value), of each line at most POINTS points: means of as
    many rows as it takes, each at the last one's step."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault(row["name"], []).append((row["step"], row["value"]))
    return {name: _thinned(points) for name, points in lines.items()}


def _thinned(points: list[tuple[int, float]]) -> list[list[float]]:
    size = -(-len(points) // POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [[int(part[-1][0]), number(sum(value for _, value in part) / len(part))] for part in parts]


def average_precisions(rows: Iterable[dict]) -> list[list]:
    """[detector, protocol, kind, group or category, value], of the AP50 in rows of `metrics`."""
    return [
        [row["detector"], row["protocol"], row["kind"], row["group"], number(row["value"])]
        for row in rows
        if row["metric"] == "AP50" and row["value"] >= 0
    ]


def reject_counts(rejects: Iterable[dict]) -> list[list]:
    """[stage, reason, how many, whether they are held against the stage] of rows of rejects, by stage and reason."""
    counts = Counter((row["stage"], row["reason"], row["counted"]) for row in rejects)
    return [[stage, reason, count, counted] for (stage, reason, counted), count in sorted(counts.items())]


def column_notes(tables: dict[str, pa.Schema]) -> dict[str, dict[str, str]]:
    """{table: {column: what it holds}}."""
    return {
        name: {field.name: (field.metadata or {}).get(b"comment", b"").decode() for field in schema}
        for name, schema in tables.items()
    }
