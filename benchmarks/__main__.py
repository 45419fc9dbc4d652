"""The speed of the stages against what they are compared with: one table, and benchmarks/results.json.

    python -m benchmarks [--only NAME …] [--device cuda]

Every row runs in a process of its own, its baseline in the same one, in turns: the ratio is the median of the pairs'
ratios, with the least and the largest of them beside it.
"""

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks.measure import machine, peak_mib
from pipeline.numerics import configure_torch

ROWS = {
    "gradcam": "grounding",
    "segment": "crops",
    "segment_batched": "crops",
    "selective_search": "boxes",
    "select_boxes": "boxes",
    "nouns": "words",
    "train_detector": "detector",
    "nothing_to_do": "runs",
    "all_remembered": "runs",
    "memory": "runs",
    "growth": "runs",
}
COLUMNS = ("row", "ours", "baseline", "unit", "ratio (least to largest)", "asked", "holds", "sizes", "what they give")
COLUMNS += ("device", "threads", "peak MiB")
RESULTS = Path(__file__).with_name("results.json")


def run_row(name: str, device: str) -> list[dict]:
    """The rows that the function `name` measures, as JSON."""
    import torch

    configure_torch(torch.get_num_threads())  # float32 in all its digits, as the stages compute, on both sides
    rows = getattr(import_module(f"benchmarks.{ROWS[name]}"), name)(device)
    for row in rows:
        if row.ratio is None and row.ours is not None and row.baseline is not None:  # a baseline that is a plain number
            row.ratio = row.ours / row.baseline
        row.device, row.threads, row.peak_mib = machine(device), torch.get_num_threads(), peak_mib()
    return [row.as_json() for row in rows]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(row: dict) -> str:
    """The median of the pairs' ratios, with their spread where there were pairs."""
    spread = "" if row["spread"] is None else " ({} to {})".format(*map(_number, row["spread"]))
    return _number(row["ratio"]) + spread


def table(rows: list[dict]) -> str:
    """The rows (of results.json) as a table of Markdown."""
    cells = []
    for row in rows:
        asked = "" if row["wanted"] is None else ("at most " if row["bound"] else "at least ") + _number(row["wanted"])
        holds = {True: "yes", False: "NO", None: ""}[row["holds"]]
        numbers = (_number(row["ours"]), _number(row["baseline"]), row["unit"], _ratio(row), asked, holds)
        words = (row["sizes"], row["agreement"], row["device"], str(row["threads"]), f"{row['peak_mib']:,}")
        cells.append((row["name"], *numbers, *words))
    return pd.DataFrame(cells, columns=COLUMNS).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    """Run the rows asked for, keep what earlier runs measured of others and on other devices, print those asked for."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print("\n" + json.dumps(run_row(args.row, args.device)))
        return
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    order = list(ROWS)
    failed = False
    for name in args.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks", "--row", name, "--device", args.device]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = [row | {"function": name} for row in json.loads(process.stdout.splitlines()[-1])]
        failed |= any(row["holds"] is False for row in rows)
        results = [row for row in results if (row["function"], row["device"]) != (name, machine(args.device))] + rows
        results.sort(key=lambda row: order.index(row["function"]))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(table(rows), file=sys.stderr, flush=True)
    print(table([row for row in results if row["function"] in args.only]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
