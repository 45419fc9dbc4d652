"""Which rows differ between two versions of a table."""

from pathlib import Path

import pyarrow.parquet as pq

from schemas.tables import TABLES


def compare_tables(table: str, before: list[Path], after: list[Path]) -> dict:
    """Rows of a table that were added, removed or changed, by its key.

    Returns {"same": count, "added": [keys], "removed": [keys], "changed": {key: [columns]}}.
    """
    key = TABLES[table].key
    old, new = _by_key(before, key), _by_key(after, key)
    changed = {}
    for name in sorted(old.keys() & new.keys()):
        columns = [column for column in old[name] if old[name][column] != new[name][column]]
        if columns:
            changed[name] = columns
    return {
        "same": len(old.keys() & new.keys()) - len(changed),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": changed,
    }


def _by_key(paths: list[Path], key: tuple[str, ...]) -> dict[tuple, dict]:
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {tuple(row[column] for column in key): row for row in rows}
