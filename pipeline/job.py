"""What a running stage holds: parameters, inputs, pictures, outputs, rejects, random numbers, and a scratch folder."""

import hashlib
import heapq
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.checkpoint import write_safetensors
from pipeline.data_sources import data_set_root, data_sources, opened
from pipeline.parameters import model_options, records, sections
from pipeline.prefetch import prefetch
from schemas.tables import CURVE, REJECTS, TABLES
from sources.images import ImageError, read_image
from store.blobs import Blobs
from store.join import join_by_image
from store.manifest import Output, is_aside
from store.on_demand import RowsOnDemand, placed_rows
from store.parquet import TableWriter, chains, read_rows, read_table
from structures.errors import one_line
from structures.progress import progress
from structures.roots import Root
from training import processes

_AT_THE_DISK = 16  # threads that wait for small files to be on it


class Job:
    """One execution of a stage on one shard.

    params: the stage's section of the config, as attributes; shared: the sections that it shares, as attributes; shard:
    "all", a number, or a detector; shards: how many; threads; root: the data set's folder, a path or an address, or those of its
    sources; sources: these, their roots opened, the sections of their parts as attributes; files: the files that
    parameters name, by key; scratch: a folder of this very action that survives a kill; outputs: what was written;
    repeatable: whether they are what the inputs alone make.
    """

    def __init__(self, action, *, blobs: Blobs, scratch: Path, threads: int):
        config = action.config
        self.stage, self.shard, self.shards = action.stage.name, action.shard, config["shards"]
        self.root, self.files, self.scratch, self.threads = data_set_root(config), action.files, scratch, threads
        self.sources = [
            source._replace(root=opened(source, config), parts=vars(_namespace(source.parts)))
            for source in data_sources(config)
        ]
        parts = sections(action.stage, config)
        self.params = _namespace(parts.pop(self.stage))
        self._shared, self.shared = parts, _namespace(parts)
        self.records = records(action.stage, config)
        self.outputs: list[Output] = []
        self._seed, self._device, self._inputs, self._blobs = action.seed, config["device"], action.inputs, blobs
        self.repeatable = True
        self._reject_counts: Counter = Counter()
        self._rejects_counted = 0
        self._rejects: TableWriter | None = None
        self._exit = ExitStack()

    def method_options(self, section: str = "") -> dict:
        """The parameters of the method that the key `method` of the stage's section, or of a shared one, chooses."""
        params = getattr(self.shared, section) if section else self.params
        return vars(getattr(params, params.method, SimpleNamespace()))

    def model_options(self, section: str) -> dict:
        """The arguments of models.vision_language.interface's functions, of a shared section."""
        files = self.files[f"{section}.weights"], self.files.get(f"{section}.tokens")
        return model_options(self._shared[section], *files)

    def activation_options(self) -> dict:
        """The arguments of models.grounding.maps.activations_of_nouns, of the shared activation_map and gradcam.threshold."""
        options = {name: self._shared["activation_map"][name] for name in ("union", "others", "power")}
        return options | {"threshold": self._shared["gradcam"]["threshold"]}

    @property
    def device(self) -> str:
        """cuda where a GPU is and the configuration doesn't say cpu."""
        if self._device != "auto":
            return self._device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    # Reading tables and checkpoints

    def has(self, artifact: str) -> bool:
        """Whether the stage reads the artifact under this configuration."""
        return artifact in self._inputs

    def paths(self, artifact: str) -> list[Path]:
        """The files of an input."""
        return [self._blobs.path(output.digest, output.suffix) for output in self._inputs[artifact]]

    def parts(self, artifact: str) -> list[str]:
        """The names of an input's files without suffix: shards, or detectors."""
        return [output.shard for output in self._inputs[artifact]]

    def rows(
        self, table: str, columns: list[str] | None = None, where: dict[str, Collection[str]] | None = None
    ) -> Iterator[dict]:
        """The rows of an input table, in bounded memory; lists of numbers come as arrays. where: as for read_rows.

        A table split by image comes in the order of the image ids, whatever the number of its shards; what a stage sets
        aside, in the order in which it did.
        """
        if is_aside(table) or TABLES[table].per != "shard":
            return read_rows(self.paths(table), columns, where=where)
        if columns is not None and "image_id" not in columns:
            raise ValueError("a table split by image is read with its image_id")
        paths = self.paths(table)
        of_chains = [read_rows([paths[number] for number in chain], columns, where=where) for chain in chains(paths)]
        return heapq.merge(*of_chains, key=lambda row: row["image_id"])

    def by_image(self, table: str, *others: str, columns: dict[str, list[str]] | None = None) -> Iterator[tuple]:
        """(row of images, its rows of `table`, its rows of each other table …) for every image that `table` has, in
        order.

        columns: {table: those that are read} where not all are wanted.
        """
        columns = columns or {}
        names = (table, "images", *others)
        for _, (rows, [image], *rest) in join_by_image(*(self.rows(name, columns.get(name)) for name in names)):
            yield (image, rows, *rest)

    def images(self, split: str) -> Iterator[dict]:
        """The rows of `images` of a split ("train" or "val"), in the order of their ids."""
        return (row for row in self.rows("images") if row["split"] == split)

    def training_set(
        self,
        *tables: str,
        wanted: Callable[..., bool],
        columns: dict[str, list[str]] | None = None,
        looked_at: dict[str, list[str]] | None = None,
        each: bool = False,
    ) -> RowsOnDemand:
        """The training images for which wanted(its rows of each table …) holds, in the order of their ids: a sequence of
        ([its path and sha256], its rows of each table …), which are read whenever they are asked for.

        columns: {table: those that are read} where not all are; looked_at: those that `wanted` is given. each: every row of the
        table, of which there is one, is looked at and wanted by itself.
        """
        columns = {"images": ["path", "sha256"]} | (columns or {})
        looked_at = {"images": ["image_id", "split"]} | (looked_at or {})
        chosen = RowsOnDemand([(self.paths(name), columns.get(name)) for name in ("images", *tables)])
        streams = [placed_rows(self.paths(name), looked_at.get(name)) for name in ("images", *tables)]
        shown = {"description": "pictures to learn from", "unit": "image", "total": self.count("images")}
        for _, ([image], *rows) in progress(join_by_image(*streams), quiet=not processes.is_main_process(), **shown):
            for item in zip([row] for row in rows[0]) if each else [rows]:
                if image["split"] == "train" and wanted(*item):
                    chosen.add([image], *item)
        return chosen

    def rows_of_split(self, table: str, split: str) -> Callable[[], Iterator[dict]]:
        """A function that reads the rows of an input table that are of images of a split, sorted by image: from a file of
        their own, so that those of a few images are read often without all the others."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        path, rules = self.scratch / f"{table}_{split}.parquet", TABLES[table]
        writer = TableWriter(path, rules.schema, rules.row_group)
        for _, ([image], rows) in join_by_image(self.rows("images", ["image_id", "split"]), self.rows(table)):
            for row in rows if image["split"] == split else ():
                writer.add(**row)
        writer.close()
        return partial(read_rows, [path])

    def count_split(self, split: str) -> int:
        """Images of a split."""
        return sum(row["split"] == split for row in read_rows(self.paths("images"), ["split"]))

    def count(self, table: str) -> int:
        """Rows of an input table."""
        return sum(output.rows for output in self._inputs[table])

    def count_images(self, table: str) -> int:
        """Images that an input table has rows of."""
        return sum(1 for _ in groupby(row["image_id"] for row in self.rows(table, ["image_id"])))

    def table(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A whole input table, for those that fit into memory."""
        parts = [read_table(path, columns) for path in self.paths(table)]
        return pa.concat_tables(parts) if parts else TABLES[table].schema.empty_table()

    def checkpoint(self, artifact: str) -> tuple[dict, dict]:
        """Tensors and settings of an input checkpoint, whose digest was checked before the stage began."""
        from structures.tensors import read_tensors

        return read_tensors(self.paths(artifact)[0])

    # Reading pictures

    def pictures(
        self,
        items: Iterable[tuple],
        prepare: Callable[..., Any],
        *,
        description: str,
        total: int | None = None,
        in_processes: bool = False,
    ) -> Iterator[tuple]:
        """(…, prepare(picture, …)) for every item (row of images, …) whose picture is still what ingest read, in order;
        the others become rejects, and the result is not remembered: it is not of the tables alone. Pictures are read
        ahead, and shown in a progress bar.

        prepare: takes a picture, height x width x 3 uint8 RGB, and its item; it runs in threads, or (pickled) in
        processes.
        """
        work = partial(_prepared, self.root, prepare)
        with (ProcessPoolExecutor if in_processes else ThreadPoolExecutor)(self.threads) as pool:
            results = prefetch(work, items, pool=pool, window=4 * self.threads)
            for item, result in progress(results, description=description, unit="image", total=total):
                if isinstance(result, ImageError):
                    self.repeatable = False
                    self.reject(item[0]["image_id"], result.reason, str(result))
                else:
                    yield (*item, result)

    # Randomness

    @property
    def random(self) -> bool:
        """Whether the stage draws random numbers under this configuration."""
        return self._seed is not None

    @property
    def seed(self) -> int:
        """The run's seed. Raises RuntimeError in a stage that does not declare itself random."""
        if self._seed is None:
            raise RuntimeError(f"{self.stage} draws random numbers: declare Stage(random=True)")
        return self._seed

    def rng(self, *key) -> np.random.Generator:
        """The random numbers of one row: of (seed, stage, key), whatever the shard, batch or order."""
        text = json.dumps([self.seed, self.stage, *map(str, key)])
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))

    # Training

    def batching(self) -> dict:
        """How a training's batches are taken, as training.loader.StepLoader wants it."""
        p, workers = self.params, self.shared.training.workers
        return {"batch": p.batch, "seed": self.seed, "workers": workers, "accumulate": p.accumulate}

    def schedule(self) -> dict:
        """How a detector is trained, as training.detector.train_detector wants it."""
        p, training, optimizer = self.params, self.shared.training, self.shared.optimizer
        return {
            "steps": p.steps,
            "lr": p.lr,
            "warmup": p.warmup,
            "milestones": tuple(p.milestones),
            "optimizer": optimizer.method,
            "weight_decay": optimizer.weight_decay,
            "precision": training.precision,
            "accumulate": p.accumulate,
            "save_every": training.save_every,
            "seed": self.seed,
            "device": self.device,
            "scratch": self.scratch,
        }

    # Writing

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """A draft that becomes the output `path` (as "report/scene_00.png") when the block ends well."""
        with self._blobs.draft(Path(path).suffix) as draft:
            yield draft
            self._keep(draft, path)

    @contextmanager
    def many_files(self) -> Iterator[Callable[[str, bytes], None]]:
        """A function that writes an output, of its path and its bytes, while the caller goes on: each waits for the disk, and
        many wait as long as one. All are kept when the block ends well."""
        waiting: deque[Future] = deque()

        def write(path: str, content: bytes) -> None:
            with self.file(path) as draft:
                draft.write_bytes(content)

        def save(path: str, content: bytes) -> None:
            while len(waiting) >= 2 * _AT_THE_DISK:
                waiting.popleft().result()
            waiting.append(pool.submit(write, path, content))

        with ThreadPoolExecutor(_AT_THE_DISK) as pool:
            yield save
            while waiting:
                waiting.popleft().result()

    @contextmanager
    def writer(self, table: str, shard: str | None = None) -> Iterator[TableWriter]:
        """A writer of an output table, kept when the block ends well."""
        rules = TABLES[table]
        with self._blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, rules.schema, rules.row_group)
            yield writer
            writer.close()
            self._keep(draft, f"{table}/{shard or self.shard}.parquet", writer.rows)

    def save_checkpoint(self, tensors: dict, settings: dict) -> None:
        """Write the stage's checkpoint. What the stage records of the configuration goes into its settings."""
        with self.file(f"{self.stage}/all.safetensors") as draft:
            write_safetensors(draft, tensors, settings | self.records)

    def save_curve(self, curve: list[dict]) -> None:
        """Write a training curve (step, name, value)."""
        with self._blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, CURVE, 4096)
            for row in curve:
                writer.add(**row)
            writer.close()
            self._keep(draft, f"{self.stage}/_curve/{self.shard}.parquet", writer.rows)

    def reject(self, image_id: str, reason: str, detail: str, *key, counted: bool = True) -> None:
        """Put a row aside that can't be processed; counted=False where that is ordinary. What is no Unicode is escaped."""
        if self._rejects is None:
            draft = self._exit.enter_context(self._blobs.draft(".parquet"))
            self._rejects = TableWriter(draft, REJECTS, 4096)
            self._reject_draft = draft
        texts = {"image_id": str(image_id), "key": " ".join(map(str, key)), "detail": detail}
        texts = {name: one_line(text) for name, text in texts.items()}
        self._rejects.add(stage=self.stage, reason=reason, counted=counted, **texts)
        self._reject_counts[reason] += 1
        self._rejects_counted += counted

    def finish(self) -> dict:
        """Keep the rejects, and return the counts of the manifest."""
        if self._rejects is not None:
            self._rejects.close()
            self._keep(self._reject_draft, f"{self.stage}/_rejects/{self.shard}.parquet", self._rejects.rows)
        rows_out: Counter = Counter()
        for output in self.outputs:
            if output.rows is not None and "/_" not in output.path:
                rows_out[output.artifact] += output.rows
        return {
            "rows_in": {name: sum(file.rows or 0 for file in files) for name, files in self._inputs.items()},
            "rows_out": dict(rows_out),
            "rejects": dict(self._reject_counts),
            "rejects_counted": self._rejects_counted,
        }

    def close(self) -> None:
        """Remove what drafts are left."""
        self._exit.close()

    def _keep(self, draft: Path, path: str, rows: int | None = None) -> None:
        if not processes.is_main_process():
            return
        digest, size = self._blobs.keep(draft)
        self.outputs.append(Output(path=path, digest=digest, bytes=size, rows=rows))


def _prepared(root: Root, prepare: Callable, item: tuple) -> tuple[tuple, Any]:
    """An item and what is made of its picture, or the ImageError that says why there is none."""
    try:
        return item, prepare(read_image(root, item[0]["path"], item[0]["sha256"]), *item)
    except ImageError as error:
        return item, error


def _namespace(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _namespace(item) for key, item in value.items()})
    return value
