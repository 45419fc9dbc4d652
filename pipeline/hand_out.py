"""A run's labels in another tool's format, in a folder of one's own: `python -m pipeline export`."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path

from exports.writers import write_format
from pipeline.conditions import uses_ovis_labels
from pipeline.data_sources import data_set_root, data_sources
from pipeline.labelled import as_kept, labelled, worst_images
from schemas.tables import TABLES
from sources.images import read_content
from sources.vocabulary import read_vocabulary
from store.parquet import read_rows
from structures.errors import UserError
from structures.ranks import rank_share


def hand_out(config: dict, run: Path, name: str, out: Path, *, worst: int, pictures: bool) -> str:
    """Write the labels of the run in a folder (data/runs/RUN) in the format `name` into the folder `out`, which is new or
    empty; what was done, in words. worst: as the config key export.worst.

    Raises UserError where the run has no labels yet, or `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name another folder with --out")
    table = "kept_labels" if uses_ovis_labels(config) else "student_labels"
    rows = {artifact: _reader(run, artifact) for artifact in ("images", "captions", "nouns", table)}
    vocabulary = _files(run, "categories", ".json")[0]
    labels = rows[table]
    if table == "student_labels":
        share = rank_share(row["score"] for row in labels())

        def labels() -> Iterator[dict]:
            return as_kept(rows[table](), share)

    taken = worst_images(labels(), worst) if worst else None

    def images() -> Iterator[dict]:
        train = (row for row in rows["images"]() if row["split"] == "train")
        return (row for row in train if taken is None or row["image_id"] in taken)

    left_out: list[str] = []
    root = data_set_root(config)
    data = labelled(
        run.name,
        read_vocabulary(vocabulary),
        images=images,
        labels=labels,
        captions=rows["captions"],
        nouns=rows["nouns"],
        sources=tuple(source.name for source in data_sources(config) if source.name),
        content=lambda image: read_content(root, image["path"], image["sha256"]),
        left_out=lambda image, label, reason: left_out.append(reason),
    )
    section = config["export"].get(name, {})
    out.mkdir(parents=True, exist_ok=True)
    write_format(name, out, data, pictures=pictures, **section)
    counts = [len(of_image) for _, of_image in data.entries()]
    told = f"{sum(counts) - len(left_out)} labels of {len(counts)} pictures: {out}"
    return told + (f" ({len(left_out)} left out, see {out / 'labels.csv'})" if left_out else "")


def _reader(run: Path, artifact: str) -> Callable[[], Iterable[dict]]:
    """The rows of a run's table, sorted by image, as often as they are asked for."""
    files = _files(run, artifact, ".parquet")

    def rows() -> Iterator[dict]:
        if TABLES[artifact].per != "shard":
            return read_rows(files)
        return heapq.merge(*(read_rows([file]) for file in files), key=itemgetter("image_id"))

    return rows


def _files(run: Path, artifact: str, suffix: str) -> list[Path]:
    files = sorted((run / artifact).glob(f"*{suffix}"))
    if not files:
        raise UserError(
            f"{run / artifact} is not there: run `snakemake --cores all` first, or name another run with --run"
        )
    return files
