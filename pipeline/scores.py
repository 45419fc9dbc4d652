"""The embedded run's scores as a table, read from `metrics`."""

from pathlib import Path

import pyarrow.parquet as pq

from structures.errors import UserError

_DETECTORS = {
    "train_detector": "",
    "finetune_detector": "fine-tuned ",
    "train_teacher": "teacher ",
    "train_student": "student ",
}


def _value(metrics: dict, *key: str) -> float:
    return metrics.get(key, float("nan"))


def rows(run: Path) -> list[tuple[str, str, str]]:
    """(measure, value, goal) of each line. Raises UserError where there are no metrics yet."""
    files = sorted((run / "metrics").glob("*.parquet"))
    if not files:
        raise UserError(f"{run / 'metrics'} is not there: run `make run`, or a data set with ground truth")
    table = [row for file in files for row in pq.read_table(file).to_pylist()]
    keys = ("protocol", "kind", "group", "metric")
    m = {tuple(row[key] for key in keys): row["value"] for row in table if not row["detector"]}
    of_detectors = {(row["detector"], *(row[key] for key in keys)): row["value"] for row in table}
    chance = _value(m, "grounding", "run", "all", "pointing_chance")
    coverages = sorted(key[1] for key in m if key[0] == "grounding" and key[2:] == ("all", "coverage"))
    first, last = (_value(m, "grounding", name, "all", "coverage") for name in (coverages[0], coverages[-1]))
    recall = {kind: _value(m, "proposals", kind, "novel", "recall50") for kind in ("wspn", "selective_search")}
    mask, cam = (_value(m, "pseudo_labels", kind, "all", "iou") for kind in ("mask", "gradcam"))
    own = _value(m, "pseudo_labels", "segm", "novel", "AP50")
    lines = [
        (
            "pointing, the run's score",
            f"{_value(m, 'grounding', 'run', 'all', 'pointing'):.3f} (chance {chance:.3f})",
            "0.80",
        ),
        ("pointing, S the match logit", f"{_value(m, 'grounding', 'itm', 'all', 'pointing'):.3f}", "0.65"),
        (
            f"share of the object covered, {coverages[-1]} against {coverages[0]}",
            f"{last:.3f} against {first:.3f}",
            "+0.05",
        ),
        (
            "recall at IoU 0.5 of 50 boxes, novel: WSPN against selective search",
            f"{recall['wspn']:.3f} against {recall['selective_search']:.3f}",
            "higher",
        ),
        ("mean IoU, pseudo-mask against thresholded GradCAM", f"{mask:.3f} against {cam:.3f}", "+0.10"),
        ("pseudo-labels' own novel mask AP50", f"{own:.1f}", ""),
    ]
    for protocol in ("generalized", "constrained"):
        for kind, word in (("segm", "mask"), ("bbox", "box")):
            for group in ("novel", "base", "all"):
                key = protocol, kind, group, "AP50"
                found = {name: of_detectors.get((name, *key)) for name in _DETECTORS}
                told = "; ".join(f"{_DETECTORS[name]}{value:.1f}" for name, value in found.items() if value is not None)
                if not told:
                    continue
                goal = "25, above the pseudo-labels" if key == ("generalized", "segm", "novel", "AP50") else ""
                lines.append((f"detector, {group} {word} AP50, {protocol}", told, goal))
    return lines


def costs(run: Path) -> list[tuple[str, str, str]]:
    """(measure, value, goal) of time and memory, from Snakemake's benchmark files of the stages' last executions."""
    with_times = []
    for file in sorted((run / "benchmarks").glob("*/*.tsv")):
        if file.parent.name.startswith("pretrain"):
            continue
        names, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        with_times.append(dict(zip(names, values)))
    if not with_times:
        return []
    minutes = sum(float(row["s"]) for row in with_times) / 60
    memory = max(float(row["max_rss"]) for row in with_times if row["max_rss"] not in ("NA", "-")) / 1024
    return [
        ("all stages' last executions, minutes", f"{minutes:.1f}", "at most 15"),
        ("memory of the largest process, GiB", f"{memory:.2f}", "at most 4"),
    ]


def show(run: Path) -> None:
    """Print the table in Markdown."""
    lines = [("measure", "value", "at least"), *rows(run), *costs(run)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    for i, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if i == 0:
            print("| " + " | ".join("-" * width for width in widths) + " |")
