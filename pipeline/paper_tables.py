"""The papers' tables, filled with the scores of a run's variants: as values (Parquet) and for people (Markdown)."""

from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd

from pipeline.config_file import read_yaml, shown
from pipeline.variants import run_name
from store.blobs import write_atomically
from store.parquet import read_folder
from structures.errors import UserError

_TEXT = {"type": "string", "minLength": 1}
_ROW = {
    "type": "object",
    "required": ["row", "variant"],
    "properties": {
        **dict.fromkeys(("row", "variant", "detector", "protocol", "kind"), _TEXT),
        "paper": {"type": ["array", "null"], "items": {"type": ["number", "null"]}},
    },
}
_TABLE = {
    "type": "object",
    "required": ["table", "note", "columns", "rows"],
    "properties": {
        **dict.fromkeys(("table", "note"), _TEXT),
        "columns": {"type": "array", "items": {"type": "string", "pattern": "^\\S+( \\S+){2,3}$"}},
        "rows": {"type": "array", "items": _ROW},
    },
}
_LAYOUT = {"type": "array", "items": _TABLE}
COLUMNS = ("table", "row", "measure", "seed", "value", "paper_value")


def read_layout(file: Path) -> list[dict]:
    """The tables that a layout file describes. Raises UserError where it is missing, of another shape, or a row's numbers
    don't fit."""
    layout = read_yaml(file, list, "; set tables.layout to the layout of the tables") or []
    for error in jsonschema.Draft202012Validator(_LAYOUT).iter_errors(layout):
        place = ".".join(map(str, error.absolute_path))
        raise UserError(
            f"{file}: {place or 'it'} is no part of a layout of tables ({shown(error.instance)}): see config/tables.yaml"
        )
    for table in layout:
        for row in table["rows"]:
            if len(row.get("paper") or table["columns"]) != len(table["columns"]):
                raise UserError(f"{file}: {table['table']}, {row['row']}: one number a column is wanted in `paper`")
            if "detector" not in row and not all(_of_labels(row, column.split()[0]) for column in table["columns"]):
                raise UserError(
                    f"{file}: {table['table']}, {row['row']}: a `detector` is wanted, or a `protocol` of labels"
                )
    return layout


def _of_labels(row: dict, protocol: str) -> bool:
    """Whether a row's value measures labels or proposals, which have no detector."""
    return protocol in ("pseudo_labels", "gradcam_labels") or "protocol" in row


def variants_of(layout: list[dict]) -> set[str]:
    """The variants whose scores the tables of a layout show."""
    return {row["variant"] for table in layout for row in table["rows"]}


def check_variants(file: Path, variants: set[str]) -> set[str]:
    """The variants that a layout file shows. Raises UserError where a row is of a variant that there is not."""
    layout = read_layout(file)
    for table in layout:
        for row in table["rows"]:
            if row["variant"] not in variants:
                raise UserError(
                    f"{file}: {table['table']}, {row['row']}: there is no variant {row['variant']}; "
                    "add its file to tables.variants, or take the row out"
                )
    return variants_of(layout)


def filled(layout: list[dict], scores: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Every cell and seed, with COLUMNS.

    scores: the table `metrics` of each (variant, seed). A row's value for a column is that of its detector; rows that
    give a protocol of their own are of labels, which have no detector. What a variant has not is left out.
    """
    cells = []
    for table in layout:
        for row in table["rows"]:
            paper = row.get("paper") or [None] * len(table["columns"])
            for column, printed in zip(table["columns"], paper):
                protocol, kind, group, *metric = column.split()
                key = (
                    "" if _of_labels(row, protocol) else row["detector"],
                    row.get("protocol", protocol),
                    row.get("kind", kind),
                    group,
                )
                for (variant, seed), frame in sorted(scores.items()):
                    if variant == row["variant"]:
                        value = _value(frame, (*key, metric[0] if metric else "AP50"))
                        if value is not None:
                            cells.append((table["table"], row["row"], column, seed, value, printed))
    frame = pd.DataFrame(cells, columns=COLUMNS)
    return frame.astype({"seed": "int64", "value": "float64", "paper_value": "float64"})


def _value(frame: pd.DataFrame, key: tuple) -> float | None:
    names = ["detector", "protocol", "kind", "group", "metric"]
    rows = frame[np.logical_and.reduce([frame[name] == word for name, word in zip(names, key)])]
    return float(rows.value.iloc[0]) if len(rows) else None


def markdown(layout: list[dict], cells: pd.DataFrame, data: str) -> str:
    """The tables in Markdown: mean, and ± the standard deviation over seeds where there are several; the paper's number
    in brackets, which is of another data set. data: what ours were measured on."""
    parts = [
        f"Ours: AP50 on {data}, mean ± standard deviation over the seeds. [Brackets]: the paper, on its own data set."
    ]
    for table in layout:
        rows = {}
        for row in table["rows"]:
            of_row = cells[(cells.table == table["table"]) & (cells.row == row["row"])]
            shown = [_cell(of_row[of_row.measure == column]) for column in table["columns"]]
            if any(shown):
                rows[row["row"]] = shown
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=table["columns"])
        note = f"{table['note'][0].upper()}{table['note'][1:]}."
        parts += [f"### {table['table']}", note, frame.to_markdown(disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _cell(cells: pd.DataFrame) -> str:
    if not len(cells):
        return ""
    values, digits = cells.value.to_numpy(), 1 if abs(cells.value).max() > 1.5 else 3
    text = f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")
    printed = cells.paper_value.iloc[0]
    return text + (f" [{printed:.1f}]" if np.isfinite(printed) else "")


def collect(data: Path, base: str, variants: list[tuple[str, int]]) -> dict[tuple[str, int], pd.DataFrame]:
    """The table `metrics` of each (variant, seed) of a run. Raises UserError where one is missing."""
    scores = {}
    for variant, seed in variants:
        folder = data / "runs" / run_name(base, variant, seed) / "metrics"
        if not list(folder.glob("*.parquet")):
            raise UserError(f"{folder} is not there: run `snakemake --cores all tables`")
        scores[variant, seed] = read_folder(folder).to_pandas()
    return scores


def show(data: Path, base: str, layout_file: Path, variants: list[tuple[str, str]]) -> None:
    """Write data/tables.parquet and data/tables.md, and print them."""
    layout = read_layout(layout_file)
    shown = [(variant, int(seed)) for variant, seed in variants if variant in variants_of(layout)]
    cells = filled(layout, collect(data, base, shown))
    text = markdown(layout, cells, f"the data set of the run {base}")
    cells.to_parquet(data / "tables.parquet", index=False)
    write_atomically(data / "tables.md", text)
    print(text)
