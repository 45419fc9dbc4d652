"""The papers' tables, filled with the scores of a run's variants: values for data/tables.parquet, Markdown for people."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pipeline.variants import run_name
from store.blobs import write_atomically
from structures.errors import UserError

COLUMNS = ("table", "row", "measure", "seed", "value", "paper_value")


def read_layout(file: Path) -> list[dict]:
    """The tables that a layout file describes. Raises UserError where it is missing or a row's numbers don't fit."""
    try:
        layout = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{file} can't be read as the layout of the tables: {error}") from error
    for table in layout:
        for row in table["rows"]:
            if len(row.get("paper") or table["columns"]) != len(table["columns"]):
                raise UserError(f"{file}: {table['table']}, {row['row']}: one number a column is wanted in `paper`")
    return layout


def check_variants(file: Path, variants: set[str]) -> None:
    """Raises UserError where a row of the layout file is of a variant that there is not."""
    for table in read_layout(file):
        for row in table["rows"]:
            if row["variant"] not in variants:
                raise UserError(
                    f"{file}: {table['table']}, {row['row']}: there is no variant {row['variant']}; "
                    "add its file to tables.variants, or take the row out"
                )


def filled(layout: list[dict], scores: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Every cell and seed, with COLUMNS.

    scores: the table `metrics` of each (variant, seed). A row's value for a column is that of its detector; rows that give
    a protocol of their own are of labels, which have no detector. What a variant has not is left out.
    """
    cells = []
    for table in layout:
        for row in table["rows"]:
            paper = row.get("paper") or [None] * len(table["columns"])
            for column, printed in zip(table["columns"], paper):
                protocol, kind, group, *metric = column.split()
                of_labels = protocol in ("pseudo_labels", "gradcam_labels") or "protocol" in row
                key = ("" if of_labels else row["detector"], row.get("protocol", protocol), kind, group)
                for (variant, seed), frame in sorted(scores.items()):
                    if variant == row["variant"]:
                        value = _value(frame, (*key, metric[0] if metric else "AP50"))
                        if value is not None:
                            cells.append((table["table"], row["row"], column, seed, value, printed))
    frame = pd.DataFrame(cells, columns=COLUMNS)
    return frame.astype({"seed": "int64", "value": "float64", "paper_value": "float64"})


def _value(frame: pd.DataFrame, key: tuple) -> float | None:
    names = ["detector", "protocol", "kind", "group", "metric"]
    found = frame[np.logical_and.reduce([frame[name] == word for name, word in zip(names, key)])]
    return float(found.value.iloc[0]) if len(found) else None


def markdown(layout: list[dict], cells: pd.DataFrame, data: str) -> str:
    """The tables in Markdown: mean, and ± the standard deviation over seeds where there are several; the paper's number in
    brackets, which is of another data set. data: what ours were measured on."""
    lines = [
        f"Ours: AP50 on {data}, mean ± standard deviation over the seeds. [Brackets]: the paper, on its own data set.",
        "",
    ]
    for table in layout:
        lines += [f"### {table['table']}", "", f"{table['note'][0].upper()}{table['note'][1:]}.", ""]
        lines += ["| | " + " | ".join(table["columns"]) + " |", "| --- " * (1 + len(table["columns"])) + "|"]
        for row in table["rows"]:
            own = cells[(cells.table == table["table"]) & (cells.row == row["row"])]
            shown = [_cell(own[own.measure == column]) for column in table["columns"]]
            if any(shown):
                lines.append(f"| {row['row']} | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: pd.DataFrame) -> str:
    if not len(found):
        return ""
    values, digits = found.value.to_numpy(), 1 if abs(found.value).max() > 1.5 else 3
    text = f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")
    printed = found.paper_value.iloc[0]
    return text + (f" [{printed:.1f}]" if np.isfinite(printed) else "")


def collect(data: Path, base: str, variants: list[tuple[str, int]]) -> dict[tuple[str, int], pd.DataFrame]:
    """The table `metrics` of each (variant, seed) of a run. Raises UserError where one is missing."""
    scores = {}
    for variant, seed in variants:
        folder = data / "runs" / run_name(base, variant, seed) / "metrics"
        if not folder.exists():
            raise UserError(f"{folder} is not there: run `snakemake --cores all tables`")
        scores[variant, seed] = pd.read_parquet(folder)
    return scores


def show(data: Path, base: str, layout_file: Path, variants: list[tuple[str, str]]) -> None:
    """Write data/tables.parquet and data/tables.md, and print them."""
    layout = read_layout(layout_file)
    cells = filled(layout, collect(data, base, [(variant, int(seed)) for variant, seed in variants]))
    text = markdown(layout, cells, f"the data set of the run {base}")
    cells.to_parquet(data / "tables.parquet", index=False)
    write_atomically(data / "tables.md", text)
    print(text)
