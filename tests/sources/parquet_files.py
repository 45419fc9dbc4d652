"""Parquet files with pictures as tests need them: as Hugging Face `datasets` writes them, and as it does not."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write_parquet(file: Path, rows: list[dict], columns: dict, images: tuple[str, ...] = ("image",), **given) -> Path:
    """columns: {name: type}; images: those that the metadata of `datasets` calls pictures, None to leave it out."""
    file.parent.mkdir(parents=True, exist_ok=True)
    features = {name: {"_type": "Image" if name in (images or ()) else "Value"} for name in columns}
    metadata = {} if images is None else {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema(columns).with_metadata(metadata)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, **given)
    return file
