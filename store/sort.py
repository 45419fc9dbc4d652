"""Tables sorted on disk: in memory are so many rows at once, however many there are."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.parquet import open_table, read_rows, told

_TOGETHER, _GROUP = 32768, 4096  # rows that are sorted in memory, and read again at once


def sort_rows(paths: Iterable[Path], by: Sequence[str], folder: Path) -> Callable[[], Iterator[dict]]:
    """A function that reads the rows of Parquet files, sorted by columns of text; of equal ones those of an earlier file, or
    place in it, come first. folder: takes sorted parts, under names that this function alone uses in it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    waiting: list[pa.RecordBatch] = []

    def write() -> None:
        if waiting:
            part = pa.Table.from_batches(waiting).sort_by([(name, "ascending") for name in by])
            parts.append(folder / f"sorted_{len(parts):05d}.parquet")
            pq.write_table(part, parts[-1], row_group_size=_GROUP, compression="zstd", write_page_checksum=True)
            waiting.clear()

    for path in paths:
        with open_table(path) as file:
            batches = file.iter_batches(batch_size=_TOGETHER)
            while True:
                with told(path):
                    batch = next(batches, None)
                if batch is None:
                    break
                if sum(map(len, waiting)) + len(batch) > _TOGETHER:
                    write()
                waiting.append(batch)
    write()
    return partial(_merged, parts, itemgetter(*by))


def _merged(parts: list[Path], key: Callable) -> Iterator[dict]:
    return heapq.merge(*(read_rows([part]) for part in parts), key=key)
