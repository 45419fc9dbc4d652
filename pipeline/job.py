"""What a running stage holds: its parameters, inputs, outputs, rejects, random numbers and scratch folder."""

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.tables import CURVE, REJECTS, TABLES
from store.blobs import canonical_json
from store.manifest import Output
from store.parquet import TableWriter, read_rows
from structures.errors import UserError
from training.processes import Team


class Job:
    """One execution of a stage on one shard.

    params: the stage's section of the config, as attributes; seed (None where nothing is drawn); shard ("all" or a number)
    of shards; threads; device ("cpu" or "cuda"); root: the data set's folder; files: the declared input files, by
    parameter name; scratch: a folder of this very action that survives a kill.
    """

    def __init__(self, *, stage, params, seed, shard, shards, threads, device, root, files, inputs, scratch, blobs):
        self.stage, self.shard, self.shards = stage, shard, shards
        self._seed = seed
        self.params = _namespace(params)
        self.threads, self.root, self.files, self.scratch = threads, root, files, scratch
        self.team = Team.of_this_process()
        self.outputs: list[Output] = []
        self.reject_counts: Counter = Counter()
        self.counted_rejects = 0
        self._device, self._inputs, self._blobs = device, inputs, blobs
        self._exit = ExitStack()
        self._rejects: TableWriter | None = None

    @property
    def device(self) -> str:
        """cuda where a GPU is and the configuration doesn't say cpu."""
        if self._device != "auto":
            return self._device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def sharing(self) -> dict:
        """How this process takes its part of each training batch, as training.loader.StepLoader wants it."""
        p = self.params
        self.team.share(p.batch, p.accumulate)
        part = {"rank": self.team.rank, "world": self.team.world, "parts": p.accumulate}
        return {"batch": p.batch, "seed": self.seed, "workers": p.workers, **part}

    # Reading

    def has(self, artifact: str) -> bool:
        """Whether this configuration's stage reads the artifact."""
        return artifact in self._inputs

    def paths(self, artifact: str) -> list[Path]:
        """The files of an input."""
        return [self._blobs.path(output.digest, output.suffix) for output in self._inputs[artifact]]

    def rows(self, table: str, columns: list[str] | None = None) -> Iterator[dict]:
        """The rows of an input table, in bounded memory; lists of numbers come as arrays.

        A table split by image comes in the order of the image ids, whatever the number of its shards.
        """
        if TABLES[table].per != "shard":
            return read_rows(self.paths(table), columns)
        if columns is not None and "image_id" not in columns:
            raise ValueError("a table split by image is read with its image_id")
        shards = [read_rows([path], columns) for path in self.paths(table)]
        return heapq.merge(*shards, key=lambda row: row["image_id"])

    def parts(self, table: str) -> list[str]:
        """The names of an input's files without suffix: shards, or detectors."""
        return [output.shard for output in self._inputs[table]]

    def count(self, table: str) -> int:
        """Rows of an input table."""
        return sum(output.rows for output in self._inputs[table])

    def table(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A whole input table, for those that fit into memory."""
        parts = [pq.read_table(path, columns=columns) for path in self.paths(table)]
        return pa.concat_tables(parts) if parts else TABLES[table].schema.empty_table()

    def checkpoint(self, artifact: str) -> tuple[dict, dict]:
        """Tensors and settings of an input checkpoint."""
        return read_safetensors(self.paths(artifact)[0])

    # Randomness

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

    # Writing

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """A draft that becomes the output `path` (as "report/scene_00.png") when the block ends well."""
        with self._blobs.draft(Path(path).suffix) as draft:
            yield draft
            self._keep(draft, path)

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
        """Write the stage's safetensors checkpoint; shared tensors are stored twice.

        settings travel as one JSON text, for safetensors writes several entries in an order that changes from run to run.
        """
        from safetensors.torch import save_file

        with self.file(f"{self.stage}/all.safetensors") as draft:
            plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
            save_file(plain, str(draft), {"cap2mask": canonical_json(settings)})

    def save_curve(self, curve: list[dict]) -> None:
        """Write a training curve (step, name, value)."""
        with self._blobs.draft(".parquet") as draft:
            writer = TableWriter(draft, CURVE, 1024)
            for row in curve:
                writer.add(**row)
            writer.close()
            self._keep(draft, f"{self.stage}/_curve/{self.shard}.parquet", writer.rows)

    def reject(self, image_id: str, reason: str, detail: str, *key, counted: bool = True) -> None:
        """Put a row aside that can't be processed; counted=False where that is ordinary."""
        if self._rejects is None:
            draft = self._exit.enter_context(self._blobs.draft(".parquet"))
            self._rejects = TableWriter(draft, REJECTS, 1024)
            self._reject_draft = draft
        words = " ".join(map(str, key))
        self._rejects.add(
            stage=self.stage, image_id=str(image_id), key=words, reason=reason, detail=detail, counted=counted
        )
        self.reject_counts[reason] += 1
        self.counted_rejects += counted

    def finish(self) -> dict:
        """Keep the rejects, and return the counts of the manifest."""
        if self._rejects is not None:
            self._rejects.close()
            self._keep(self._reject_draft, f"{self.stage}/_rejects/{self.shard}.parquet", self._rejects.rows)
        tables = [output for output in self.outputs if output.rows is not None and "/_" not in output.path]
        out: Counter = Counter()
        for output in tables:
            out[output.artifact] += output.rows
        return {
            "rows_in": {name: sum(o.rows or 0 for o in outputs) for name, outputs in self._inputs.items()},
            "rows_out": dict(out),
            "rejects": dict(self.reject_counts),
            "rejects_counted": self.counted_rejects,
        }

    def close(self) -> None:
        """Remove what drafts are left."""
        self._exit.close()

    def _keep(self, draft: Path, path: str, rows: int | None = None) -> None:
        if not self.team.leads:
            return
        digest, size = self._blobs.keep(draft)
        self.outputs.append(Output(path=path, digest=digest, bytes=size, rows=rows))


def read_safetensors(path: Path) -> tuple[dict, dict]:
    """Tensors and settings of a safetensors file that a stage wrote. Raises UserError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("cap2mask", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, settings
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no safetensors file: {error}") from error


def _namespace(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _namespace(item) for key, item in value.items()})
    return value
