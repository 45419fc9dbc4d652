"""A run's scores as a table, read from `metrics`, and what it cost, from Snakemake's benchmark files."""

from pathlib import Path

import pandas as pd

from pipeline.registry import stages
from schemas.tables import TABLES
from store.parquet import read_folder
from structures.errors import UserError

COLUMNS = ("measure", "value", "at least")
_NAMES = {"finetune_detector": "fine-tuned", "train_teacher": "teacher", "train_student": "student"}
_WORDS = {"segm": "mask", "bbox": "box"}
_GENERATORS = {"rpn": "RPN", "wspn": "WSPN", "selective_search": "selective search"}


class Metrics:
    """The rows of `metrics` by their key: (detector or "", protocol, kind, group, metric)."""

    def __init__(self, frame: pd.DataFrame):
        self._values = frame.set_index(list(TABLES["metrics"].key)).value

    def __call__(self, *key: str, detector: str = "") -> float | None:
        """The value, None where it was not measured."""
        return self._values.get((detector, *key))

    def kinds(self, protocol: str, metric: str) -> list[str]:
        """What a metric of a protocol was measured of, for all categories together, sorted."""
        keys = self._values.index
        return sorted({key[2] for key in keys if (key[1], *key[3:]) == (protocol, "all", metric)})

    def groups(self, protocol: str) -> list[str]:
        """The groups that a protocol was measured for, sorted."""
        return sorted({key[3] for key in self._values.index if key[1] == protocol})

    @property
    def detectors(self) -> list[str]:
        """The detectors that were measured, in the order that they were written."""
        return [name for name in dict.fromkeys(self._values.index.get_level_values("detector")) if name]


def rows(run: Path) -> list[tuple[str, str, str]]:
    """(measure, value, goal) of each line; what was not measured is left out. Raises UserError where there are no
    metrics yet."""
    if not list((run / "metrics").glob("*.parquet")):
        raise UserError(f"{run / 'metrics'} is not there: run `make run`, or a data set with ground truth")
    metrics = Metrics(read_folder(run / "metrics").to_pandas())
    return [*_label_rows(metrics), *_proposal_rows(metrics), *_detector_rows(metrics)]


def _label_rows(metrics: Metrics):
    """What precedes detectors: maps, proposals, pseudo-labels."""
    chance = metrics("grounding", "run", "all", "pointing_chance")
    pointing = metrics("grounding", "run", "all", "pointing")
    if pointing is not None:
        yield "pointing, the run's score", f"{pointing:.3f} (chance {chance:.3f})", "0.80"
    itm = metrics("grounding", "itm", "all", "pointing")
    if itm is not None:
        yield "pointing, S the match logit", f"{itm:.3f}", "0.65"
    iterations = metrics.kinds("grounding", "coverage")
    if len(iterations) > 1:
        first, last = (metrics("grounding", kind, "all", "coverage") for kind in (iterations[0], iterations[-1]))
        measure = f"share of the object covered, {iterations[-1]} against {iterations[0]}"
        yield measure, f"{last:.3f} against {first:.3f}", "+0.05"
    recall = [metrics("proposals", kind, "novel", "recall50") for kind in ("wspn", "selective_search")]
    if None not in recall:
        measure = "recall at IoU 0.5 of 50 boxes, novel: WSPN against selective search"
        yield measure, f"{recall[0]:.3f} against {recall[1]:.3f}", "higher"
    ious = [metrics("pseudo_labels", kind, "all", "iou") for kind in ("mask", "gradcam")]
    if None not in ious:
        yield "mean IoU, pseudo-mask against thresholded GradCAM", f"{ious[0]:.3f} against {ious[1]:.3f}", "+0.10"
    later = metrics("round_labels", "mask", "all", "iou") is not None
    for protocol, title in (("pseudo_labels", ", first round" * later), ("round_labels", ", last round")):
        yield from _quality_rows(metrics, protocol, title)
    told = {group: metrics("kept_labels", "confidence", group, "rank_correlation") for group in ("all", "novel")}
    if None not in told.values():
        values = f"{told['all']:.3f}; novel {told['novel']:.3f}"
        yield "rank correlation of the labels' confidence with the true IoU", values, ""


def _quality_rows(metrics: Metrics, protocol: str, title: str):
    """How right the labels of a round are."""
    kinds = [
        ("chosen boxes with IoU 0.5", ("box", "recall50")),
        ("pseudo-masks with IoU 0.5", ("mask", "share50")),
        ("named objects that a label of their own outlines", ("instances", "recall50")),
        ("labels that outline an object of their own", ("instances", "precision50")),
    ]
    for measure, (kind, metric) in kinds:
        values = {group: metrics(protocol, kind, group, metric) for group in ("all", "novel")}
        if None not in values.values():
            yield f"{measure}{title}", f"{values['all']:.3f}; novel {values['novel']:.3f}", ""
    mean, labels = metrics(protocol, "mask", "all", "iou"), metrics(protocol, "segm", "novel", "AP50")
    if mean is not None:
        yield f"pseudo-masks' mean IoU{title}", f"{mean:.3f}", ""
    if labels is not None:
        yield f"pseudo-labels' own novel mask AP50{title}", f"{labels:.1f}", ""


def _proposal_rows(metrics: Metrics):
    """Who finds the objects of validation images in 50 boxes: all novel ones, and those of each novel category."""
    kinds = metrics.kinds("val_proposals", "recall50")
    places = [
        ("val_proposals", "novel"),
        *(("val_proposals_novel", name) for name in metrics.groups("val_proposals_novel")),
    ]
    for protocol, group in places:
        recall = {kind: metrics(protocol, kind, group, "recall50") for kind in kinds}
        if recall and None not in recall.values():
            values = "; ".join(f"{_GENERATORS[kind]} {value:.3f}" for kind, value in recall.items())
            yield f"recall at IoU 0.5 of 50 boxes, validation, {group}", values, ""


def _detector_rows(metrics: Metrics):
    for protocol in ("generalized", "constrained"):
        for kind, word in _WORDS.items():
            for group in ("novel", "base", "all"):
                values = [
                    (_NAMES.get(name, ""), metrics(protocol, kind, group, "AP50", detector=name))
                    for name in metrics.detectors
                ]
                cells = [f"{name} {value:.1f}".strip() for name, value in values if value is not None]
                if cells:
                    bound = (protocol, kind, group) == ("generalized", "segm", "novel")
                    goal = "25, above the pseudo-labels" if bound else ""
                    yield f"detector, {group} {word} AP50, {protocol}", "; ".join(cells), goal


def _benchmarks(run: Path) -> pd.DataFrame:
    """Snakemake's benchmark files of the stages' last executions, those of the run's earlier rounds as well, with the stage
    of each. The stages that make the shipped weights again are no part of a run."""
    no_part = {name for name, stage in stages().items() if not stage.reads and name != "ingest"}
    runs = [run, *run.parent.glob(f"{run.name}.round*")]
    found = (file for one in runs for file in sorted((one / "benchmarks").glob("*/*.tsv")))
    files = [file for file in found if file.parent.name not in no_part]
    frames = [pd.read_csv(file, sep="\t", na_values=["-", "NA"]).assign(stage=file.parent.name) for file in files]
    return pd.concat(frames) if frames else pd.DataFrame(columns=["stage", "s", "max_rss"])


def stage_costs(run: Path) -> list[tuple[str, float, float]]:
    """(stage, seconds of all its shards together, MiB of the largest process) of each stage's last execution."""
    groups = _benchmarks(run).groupby("stage")
    return [(name, round(float(of.s.sum()), 1), round(float(of.max_rss.fillna(0).max()), 1)) for name, of in groups]


def costs(run: Path) -> list[tuple[str, str, str]]:
    """(measure, value, goal) of time and memory of all stages' last executions."""
    frame = _benchmarks(run)
    if frame.empty:
        return []
    return [
        ("all stages' last executions, minutes", f"{frame.s.sum() / 60:.1f}", "at most 15"),
        ("memory of the largest process, GiB", f"{frame.max_rss.max() / 1024:.2f}", "at most 4"),
    ]


def show(run: Path) -> None:
    """Print the table in Markdown."""
    print(pd.DataFrame([*rows(run), *costs(run)], columns=COLUMNS).to_markdown(index=False, disable_numparse=True))
