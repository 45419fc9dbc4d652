"""A data set of the Hugging Face hub: Parquet files with the pictures inside, and a card.

datasets.load_dataset("parquet", data_files="data/*.parquet"), or load_dataset(FOLDER)
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from exports.labelled import Labelled

KEEPS_PICTURES = False  # they are inside
_ROWS = 100  # of a row group, as the hub's viewer wants them


def write(folder: Path, data: Labelled, *, pictures: bool, shard_mb: int) -> None:
    """data/train-00000.parquet …, of shard_mb megabytes or a little more, and README.md."""
    (folder / "data").mkdir(exist_ok=True)
    schema = _schema(data)
    writer, rows, buffered, written, shard, images, objects = None, [], 0, 0, 0, 0, 0

    def flush() -> None:
        nonlocal writer, rows, buffered
        if writer is None:
            path = folder / "data" / f"train-{shard:05d}.parquet"
            writer = pq.ParquetWriter(path, schema, compression="zstd", store_schema=True)
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=_ROWS)
        rows, buffered = [], 0

    for _, image, labels in data.numbered():
        row = _row(data, image, labels)
        rows.append(row)
        size = len(row["image"]["bytes"])
        buffered, written, images, objects = buffered + size, written + size, images + 1, objects + len(labels)
        if len(rows) == _ROWS or buffered >= shard_mb << 20:
            flush()
        if written >= shard_mb << 20:
            if rows:
                flush()
            writer.close()
            writer, written, shard = None, 0, shard + 1
    if rows or (writer is None and not shard):
        flush()
    if writer is not None:
        writer.close()
    (folder / "README.md").write_text(_card(data, images, objects), encoding="utf-8", newline="\n")


_OBJECTS = {
    "label": pa.string(),
    "category": pa.int64(),
    "bbox": pa.list_(pa.float64()),
    "area": pa.float64(),
    "score": pa.float64(),
    "decided_by": pa.string(),
    "size": pa.list_(pa.int64()),
    "counts": pa.string(),
}


def _schema(data: Labelled) -> pa.Schema:
    """Arrow's schema, with the features that `datasets` reads from its metadata."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    objects = pa.struct({name: pa.list_(kind) for name, kind in _OBJECTS.items()})
    plain = {"image_id": pa.string(), "width": pa.int64(), "height": pa.int64(), "captions": pa.list_(pa.string())}
    return pa.schema({"image": image, **plain, "objects": objects}).with_metadata(
        {"huggingface": json.dumps({"info": {"features": _features(data)}})}
    )


def _features(data: Labelled) -> dict:
    def value(kind: str) -> dict:
        return {"dtype": kind, "_type": "Value"}

    def several(feature: dict) -> dict:
        return {"feature": feature, "_type": "List"}

    return {
        "image": {"_type": "Image"},
        "image_id": value("string"),
        "width": value("int64"),
        "height": value("int64"),
        "captions": several(value("string")),
        "objects": {
            "label": several(value("string")),
            "category": several({"names": [category.name for category in data.categories], "_type": "ClassLabel"}),
            "bbox": several(several(value("float64"))),
            "area": several(value("float64")),
            "score": several(value("float64")),
            "decided_by": several(value("string")),
            "size": several(several(value("int64"))),
            "counts": several(value("string")),
        },
    }


def _row(data: Labelled, image: dict, labels: list[dict]) -> dict:
    numbers = data.category_numbers()
    columns = {
        "label": [label["label"] for label in labels],
        "category": [numbers[label["category"]] - 1 for label in labels],
        "bbox": [[float(side) for side in label["bbox"]] for label in labels],
        "area": [float(label["area"]) for label in labels],
        "score": [float(label["confidence"]) for label in labels],
        "decided_by": [label["decided_by"] for label in labels],
        "size": [[int(side) for side in label["segmentation"]["size"]] for label in labels],
        "counts": [label["segmentation"]["counts"] for label in labels],
    }
    return {
        "image": {"bytes": data.content(image), "path": image["path"]},
        "image_id": image["image_id"],
        "width": int(image["width"]),
        "height": int(image["height"]),
        "captions": list(image.get("captions", ())),
        "objects": columns,
    }


def _card(data: Labelled, images: int, objects: int) -> str:
    head = {
        "pretty_name": data.name,
        "task_categories": ["object-detection", "image-segmentation"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"
        f"# {data.name}\n\n"
        f"{images} pictures with {objects} labels of {len(data.categories)} categories: {data.description}.\n\n"
        "A label is the outline of one object of what a picture's captions name; captions leave things out, so that what "
        "is not labelled may still be there.\n\n"
        "| column | what it is |\n| --- | --- |\n"
        "| `image` | the picture, as its file has it |\n"
        "| `image_id`, `width`, `height` | its id in the data set; pixels |\n"
        "| `captions` | its captions |\n"
        "| `objects.label` | the label's id |\n"
        "| `objects.category` | place of its name among the feature's names |\n"
        "| `objects.bbox` | x, y, width, height in pixels |\n"
        "| `objects.area`, `objects.score` | pixels of the mask; 0 to 1, best 1 |\n"
        "| `objects.decided_by` | who looked at it; empty for nobody |\n"
        "| `objects.size`, `objects.counts` | the mask as COCO's compressed RLE: `pycocotools.mask.decode({'size': size, "
        "'counts': counts})` |\n"
    )
