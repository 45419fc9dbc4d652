"""Which rows differ between two versions of a table."""

from dataclasses import dataclass, field
from pathlib import Path

from schemas.tables import TABLES
from store.parquet import read_table


@dataclass
class Difference:
    """same: how many rows are equal; added, removed: the keys of rows that only one version has, sorted, a key as often
    as rows have it; changed: the keys of rows that both have, with the columns that differ."""

    same: int = 0
    added: list[tuple] = field(default_factory=list)
    removed: list[tuple] = field(default_factory=list)
    changed: list[tuple[tuple, list[str]]] = field(default_factory=list)


def compare_tables(table: str, before: list[Path], after: list[Path]) -> Difference:
    """The rows of a table that were added, removed or changed, by the table's key.

    Where several rows have one key (a picture's detections of one category), equal rows are matched first, and of the
    others the first with the first.
    """
    old, new = _by_key(before, TABLES[table].key), _by_key(after, TABLES[table].key)
    difference = Difference()
    for key in sorted(old.keys() | new.keys()):
        removed, added = list(old.get(key, ())), []
        for row in new.get(key, ()):
            if row in removed:
                removed.remove(row)
                difference.same += 1
            else:
                added.append(row)
        pairs = list(zip(removed, added))
        for row, other in pairs:
            difference.changed.append((key, [column for column in row if row[column] != other[column]]))
        difference.removed += [key] * (len(removed) - len(pairs))
        difference.added += [key] * (len(added) - len(pairs))
    return difference


def _by_key(paths: list[Path], key: tuple[str, ...]) -> dict[tuple, list[dict]]:
    """The rows of every key, in their order."""
    rows: dict[tuple, list[dict]] = {}
    for path in paths:
        for row in read_table(path).to_pylist():
            rows.setdefault(tuple(row[column] for column in key), []).append(row)
    return rows
