"""Results without the work: what stages would have left in a data folder, made of a few bytes each by the store's own code.

What reads manifests, links and digests (Snakemake, `python -m store`) finds in them what it finds in true ones; only the bytes of
the blobs are no tables.
"""

from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

from schemas.tables import TABLES
from store.blobs import Blobs, write_atomically
from store.manifest import Manifest, Output, Run, action_key, memo_path
from structures.progress import progress


@patch(
    "os.fsync", lambda descriptor: None
)  # no power cut that these must last through: a disk takes ten milliseconds each
def make_results(data: Path, manifests: Iterable[Path], shards: int) -> int:
    """Make the manifests of jobs, <data>/runs/<run>/manifests/<stage>/<shard>.json, with their memos, and the blobs and links
    that they list; how many blobs. A job that runs once writes a file for each of the shards where its table is split so."""
    blobs, count = Blobs(data), 0
    made: dict[tuple[str, str], list[str]] = {}  # the digests of each stage's outputs in a run
    manifests = list(manifests)
    for file in progress(manifests, description="making results", unit="job", total=len(manifests)):
        run, stage, shard = file.parents[2].name, file.parent.name, file.stem
        outputs = []
        for path in _paths(stage, shard, shards):
            with blobs.draft(Path(path).suffix) as draft:
                draft.write_text(f"{run}/{path}\n")
                digest, size = blobs.keep(draft)
            blobs.link(digest, data / "runs" / run / path)
            outputs.append(Output(path, digest, size, rows=1))
        counts = {"rows_out": {output.artifact: 1 for output in outputs}, "rejects": {}, "rejects_counted": 0}
        inputs = [{"artifact": before, "digests": digests[-1:]} for (of, before), digests in made.items() if of == run]
        made.setdefault((run, stage), []).extend(output.digest for output in outputs)
        key = action_key(stage, "", {"run": run, "shard": shard}, {})
        manifest = Manifest(stage, shard, key, "", None, {"run": run}, inputs, outputs=outputs, counts=counts)
        write_atomically(memo_path(data, key), manifest.to_json())
        write_atomically(Run(data, run).manifest_path(stage, shard), manifest.to_json())
        count += len(outputs)
    return count


def _paths(stage: str, shard: str, shards: int) -> list[str]:
    """The files that a job writes, by the tables of its stage."""
    paths = []
    for name, table in TABLES.items():
        if table.stage == stage:
            split = table.per == "shard" and shard == "all"
            paths += [f"{name}/{part}.parquet" for part in (range(shards) if split else [shard])]
    return paths or [f"{stage}/{shard}.safetensors"]
