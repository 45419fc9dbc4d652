"""The two protocols of open-vocabulary detection (OVIS and XPM, experiments).

Generalized: all categories compete, on all images that hold a base or novel object. Constrained: only the group's
categories compete, on images that hold one of the group's objects. A crowd makes an image count as any object does (so
XPM, 4.1, counts), but is none to be found.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from evaluation.average_precision import MAX_DETECTIONS, AveragePrecision

KINDS = ("bbox", "segm")
Image = tuple[tuple[int, int], list[dict], list[dict], Collection[str]]  # what AveragePrecision.add takes


def protocol_scores(
    images: Callable[[str], Iterable[Image]],
    base: Sequence[str],
    novel: Sequence[str],
    max_detections: int = MAX_DETECTIONS,
    folder: Path | None = None,
) -> Iterator[dict]:
    """protocol, kind (bbox, segm), group (base, novel, all), metric, value, for every combination that has categories; and of
    each category by itself, when all compete: its name as the group, protocol generalized_base or generalized_novel, AP50.

    images(competing): the validation images, in the order of their ids, with rows of `annotations` and of `detections` of the
    categories that competed ("all", "base" or "novel"); of an image that was not judged for every category, detections of
    those that it was judged for. base, novel: names; max_detections, folder, and the values: as AveragePrecision has them.
    """
    groups = {"base": tuple(base), "novel": tuple(novel), "all": (*base, *novel)}
    alone = {name: (name,) for name in groups["all"]}
    measured = {"all": alone | {group: names for group, names in groups.items() if names}}
    measured |= {group: {group: groups[group]} for group in ("base", "novel") if groups[group]}
    scores = {
        competing: _scores(images(competing), groups[competing], of, max_detections, folder)
        for competing, of in measured.items()
    }
    for protocol, rounds in (("generalized", ("all",)), ("constrained", ("base", "novel"))):
        for kind in KINDS:
            for competing in rounds:
                for group, values in scores.get(competing, {}).get(kind, {}).items():
                    row = {"protocol": protocol, "kind": kind, "group": group}
                    if group not in groups:
                        row["protocol"] += "_base" if group in base else "_novel"
                        yield row | {"metric": "AP50", "value": values["AP50"]}
                        continue
                    for metric, value in values.items():
                        yield row | {"metric": metric, "value": value}


def _scores(
    images: Iterable[Image],
    categories: Sequence[str],
    groups: dict[str, Sequence[str]],
    max_detections: int,
    folder: Path | None,
) -> dict[str, dict[str, dict[str, float]]]:
    """{kind: {group: its values}} on those of the images that hold an annotation of the categories, a crowd or not.

    With COCO's base and novel categories these are the 4,836 validation images of XPM, 4.1.
    """
    known = frozenset(categories)
    measures = {kind: AveragePrecision(categories, kind, max_detections, folder) for kind in KINDS}
    for size, annotations, detections, not_exhaustive in images:
        if any(row["category"] in known for row in annotations):
            for measure in measures.values():
                measure.add(size, annotations, detections, not_exhaustive)
    return {kind: measure.scores(groups) for kind, measure in measures.items()}
