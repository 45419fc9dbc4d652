"""A run's main pictures and tables in one folder, as `snakemake --report` takes them in, and what its stages cost."""

import csv
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import scores
from store.blobs import write_atomically
from store.parquet import read_folder

PICTURES = "pictures"
TABLES = ("scores.csv", "labels.csv", "costs.csv")
COSTS = "costs.js"  # what the gallery shows of them, if it is there
_LABELS = {"pseudo_masks": "ovis", "round_masks": "round", "teacher_masks": "xpm"}  # table: source


def write(run: Path) -> None:
    """Write the folder `overview` of a run. run: the run's own folder.

    pictures/: the sheets of the stage report; scores.csv: as `python -m pipeline scores` shows them; labels.csv: how many
    labels of each source a category has; costs.csv, costs.js: time and memory of each stage's last execution. Tables of
    which the run has nothing have a heading alone.
    """
    folder = run / "overview"
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    (folder / PICTURES).mkdir(parents=True)
    for sheet in sorted((run / "report").glob("*.png")):
        shutil.copyfile(sheet, folder / PICTURES / sheet.name)
    measured = scores.rows(run) if (run / "metrics").is_dir() else ()
    _write_table(folder / "scores.csv", scores.COLUMNS, measured)
    _write_table(folder / "labels.csv", ("source", "category", "labels"), _labels(run))
    costs = scores.stage_costs(run)
    _write_table(folder / "costs.csv", ("stage", "seconds", "MiB"), costs)
    content = json.dumps([list(row) for row in costs])
    write_atomically(folder / COSTS, f'gallery.take("../overview/costs", {json.dumps(content)});\n')


def _labels(run: Path) -> Iterator[tuple[str, str, int]]:
    for table, source in _LABELS.items():
        if (run / table).is_dir():
            counts = read_folder(run / table).group_by("category").aggregate([([], "count_all")])
            for row in counts.sort_by([("count_all", "descending"), ("category", "ascending")]).to_pylist():
                yield source, row["category"], row["count_all"]


def _write_table(path: Path, heading: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
