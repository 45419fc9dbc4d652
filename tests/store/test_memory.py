"""A Parquet file of any size is read in the memory of a few of its row groups, a user's and a table of ours."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sources.huggingface import read_part
from sources.tables import parquet_table
from store.parquet import read_rows
from tests.sources.parquet_files import IMAGE

ROWS, TOGETHER, BYTES = 8000, 100, 4000


def of_the_hub(file: Path) -> Iterable:
    own = {"images": ".", "parquet": file.name, "image_column": "", "caption_columns": ["text"], "id_column": ""}
    return read_part(file.parent, SimpleNamespace(**own)).captions


@pytest.mark.parametrize("read", [lambda file: read_rows([file]), lambda file: parquet_table(file).rows(), of_the_hub])
def test_no_more_is_held_than_is_asked_for(tmp_path, read):
    rng = np.random.default_rng(0)
    schema = pa.schema({"text": pa.string(), "image": IMAGE})
    file = tmp_path / "x.parquet"
    with pq.ParquetWriter(file, schema) as writer:
        for _ in range(ROWS // TOGETHER):
            texts = [bytes(rng.integers(32, 127, BYTES, np.uint8)).decode() for _ in range(TOGETHER)]
            pictures = [{"bytes": b"GIF8", "path": None}] * TOGETHER
            writer.write_table(pa.table({"text": texts, "image": pa.array(pictures, IMAGE)}, schema=schema))
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for _ in read(file):
        rows += 1
        if rows % TOGETHER == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert rows == ROWS
    assert 0 < most < file.stat().st_size / 4
