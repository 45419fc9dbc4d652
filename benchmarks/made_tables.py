"""Tables of any number of images, as stages would have written them, of one picture: what a stage reads at scale.

Every twentieth image is one of validation; the others have a caption that names a category, its map, its proposals, its
labels; of every validation image each detector finds twenty objects.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas.tables import REJECTS, TABLES
from sources.vocabulary import Vocabulary
from store.blobs import Blobs, file_digest
from store.manifest import Manifest, Output, Run, is_aside, producer
from store.parquet import TableWriter
from structures.masks import encode
from structures.progress import progress

_TOGETHER = 16384  # images whose rows are made together
_VAL = 20  # every so manieth image
_FOUND = 20  # objects that a detector finds in a validation image
_BOXES = {"proposals": 100, "wspn_proposals": 20}
_SIDE = 6  # cells of a map
_REJECTS = "nouns/_rejects"  # one of each training image; other stages set nothing aside


class MadeTables:
    """Writes tables of so many images into the store of a data folder, and the manifests of a run.

    picture: a file, and its name below the data set's folder; vocabulary: its base and novel names are named in turns;
    in_shard: images of a file, of the tables that are split by image.
    """

    def __init__(
        self, images: int, picture: Path, name: str, size: tuple[int, int], vocabulary: Vocabulary, in_shard: int
    ):
        self._in_shard = in_shard
        self.images, self._path, self._digest, self._size = images, name, file_digest(picture), size
        self._vocabulary, self._categories = vocabulary, np.array(vocabulary.measured)
        height, width = size
        mask = np.zeros(size, bool)
        mask[height // 4 : height // 2, width // 4 : width // 2] = True
        self._mask = encode(mask)
        self._box = [width // 4, height // 4, width // 2, height // 2]

    def write(self, data: Path, run: str, artifacts: list[str], detectors: list[str]) -> None:
        """Tables (and what stages set aside) by their names; the manifest of each stage that makes any."""
        blobs, outputs = Blobs(data), {}
        for artifact in progress(artifacts, description="making tables", unit="table"):
            stage, per = producer(artifact)
            for part in detectors if per == "detector" else ["all" if per == "run" else "0"]:
                of_stage = outputs.setdefault((stage, part if per == "detector" else "all"), [])
                if artifact == "categories":
                    of_stage.append(self._names(blobs))
                elif artifact == "embeddings":
                    of_stage.append(self._vectors(blobs))
                elif is_aside(artifact) and artifact != _REJECTS:
                    continue
                elif per == "shard":
                    for number, first in enumerate(range(0, self.images, self._in_shard)):
                        images = range(first, min(first + self._in_shard, self.images))
                        of_stage.append(self._table(blobs, artifact, str(number), images))
                else:
                    of_stage.append(self._table(blobs, artifact, part, range(self.images)))
        for (stage, shard), of_stage in outputs.items():
            manifest = Manifest(stage, shard, "made", "made", None, {}, outputs=of_stage)
            path = Run(data, run).manifest_path(stage, shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(manifest.to_json(), encoding="utf-8")

    def _names(self, blobs: Blobs) -> Output:
        with blobs.draft(".json") as draft:
            draft.write_text(self._vocabulary.to_json(), encoding="utf-8")
            return Output("categories/all.json", *blobs.keep(draft))

    def _vectors(self, blobs: Blobs) -> Output:
        """A vector of its own for each name."""
        with blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, TABLES["embeddings"].schema, TABLES["embeddings"].row_group)
            for name, vector in zip(self._categories, np.eye(64, dtype=np.float32)):
                writer.add(category=str(name), group=self._vocabulary.group(name), vector=vector)
            writer.close()
            return Output("embeddings/all.parquet", *blobs.keep(draft), writer.rows)

    def _table(self, blobs: Blobs, artifact: str, part: str, images: range) -> Output:
        schema = REJECTS if artifact == _REJECTS else TABLES[artifact].schema
        with blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, schema, 4096 if artifact == _REJECTS else TABLES[artifact].row_group)
            for first in images[::_TOGETHER]:
                numbers = np.arange(first, min(first + _TOGETHER, images.stop))
                columns = self._columns(artifact, part, schema, numbers)
                writer.add_table(pa.table([columns[name] for name in schema.names], schema.names))
            writer.close()
            digest, size = blobs.keep(draft)
        return Output(f"{artifact}/{part}.parquet", digest, size, writer.rows)

    def _columns(self, artifact: str, part: str, schema: pa.Schema, numbers: np.ndarray) -> dict[str, pa.Array]:
        """The columns of a table for the images of these numbers."""
        val = numbers % _VAL == _VAL - 1
        if artifact in ("judged", "source_categories") or "metric" in schema.names:
            numbers = numbers[:0]
        elif artifact == "detections":
            numbers = np.repeat(numbers[val], _FOUND)
        elif artifact not in ("images", "annotations"):
            numbers = numbers[~val]
        count, rng = len(numbers), np.random.default_rng([int(numbers[0]) if len(numbers) else 0, len(artifact)])
        ids = pa.array([f"{number:09d}" for number in numbers], pa.string())

        def same(value, kind: pa.DataType) -> pa.Array:
            return pa.array([value], kind).take(pa.array(np.zeros(count, np.int64)))

        def drawn(kind: pa.DataType) -> pa.Array:
            return pa.array(rng.random(count), kind)

        x0, y0, x1, y1 = self._box
        categories = pa.array(self._categories[numbers % len(self._categories)], pa.string())
        text = f"a photo of a {self._categories[0]}"
        known: dict[str, Callable] = {
            "image_id": lambda kind: ids,
            "category": lambda kind: categories,
            "path": lambda kind: same(self._path, kind),
            "height": lambda kind: same(_SIDE if artifact == "gradcam" else self._size[0], kind),
            "width": lambda kind: same(_SIDE if artifact == "gradcam" else self._size[1], kind),
            "split": lambda kind: pa.array(np.where(val, "val", "train")),
            "sha256": lambda kind: same(self._digest, kind),
            "caption_id": lambda kind: ids,
            "annotation_id": lambda kind: ids,
            "text": lambda kind: same(text, kind),
            "surface": lambda kind: same(str(self._categories[0]), kind),
            "start": lambda kind: same(len(text) - len(self._categories[0]), kind),
            "end": lambda kind: same(len(text), kind),
            "count": lambda kind: same(1, kind),
            "bbox": lambda kind: same([x0, y0, x1 - x0, y1 - y0], kind),
            "box": lambda kind: same(self._box, kind),
            "segmentation": lambda kind: same(self._mask, kind),
            "area": lambda kind: same((x1 - x0) * (y1 - y0), kind),
            "iscrowd": lambda kind: same(False, kind),
            "boxes": lambda kind: same([self._box] * _BOXES[artifact], kind),
            "scores": lambda kind: same([0.5] * _BOXES[artifact], kind),
            "maps": lambda kind: same(np.linspace(0, 1, 3 * _SIDE * _SIDE, dtype=np.float16), kind),
            "itm_logit": lambda kind: same([1.0, 0.5, 0.2], kind),
            "variance": lambda kind: same(np.full(16, 0.1, np.float16), kind),
            "side": lambda kind: same(4, kind),
            "detector": lambda kind: same(part, kind) if pa.types.is_string(kind) else drawn(kind),
            "stage": lambda kind: same("nouns", kind),
            "reason": lambda kind: same("no_known_noun", kind),
            "detail": lambda kind: same(text, kind),
            "counted": lambda kind: same(False, kind),
            "vocabulary": lambda kind: pa.array(np.array(["all", "base", "novel"])[np.arange(count) % 3]),
            "source": lambda kind: same("ovis", kind),
            "weight": lambda kind: same(1.0, kind),
            "present": lambda kind: same(True, kind),
            "exhaustive": lambda kind: same(True, kind),
        }
        empty = {pa.string(): "", pa.int32(): 0}
        return {
            field.name: known[field.name](field.type)
            if field.name in known
            else drawn(field.type)
            if pa.types.is_floating(field.type)
            else same(empty[field.type], field.type)
            for field in schema
        }
