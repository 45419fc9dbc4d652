"""The two protocols of open-vocabulary detection (OVIS and XPM, experiments).

Generalized: all categories compete, on all images that hold a base or novel object. Constrained: only the group's
categories compete, on images that hold one of the group's objects. A crowd makes an image count as any object does (so
XPM, 4.1, counts), but is none to be found.
"""

from collections.abc import Collection, Iterator, Sequence

from evaluation.average_precision import MAX_DETECTIONS, average_precision
from evaluation.ground_truth import images_holding
from evaluation.judged import Judged, of_judged


def protocol_scores(
    images: dict[str, tuple[int, int]],
    annotations: list[dict],
    detections: dict[str, list[dict]],
    base: Sequence[str],
    novel: Sequence[str],
    judged: Judged | None = None,
    not_exhaustive: Collection[tuple[str, str]] = frozenset(),
    max_detections: int = MAX_DETECTIONS,
) -> Iterator[dict]:
    """protocol, kind (bbox, segm), group (base, novel, all), metric, value, for every combination that has categories; and of
    each category by itself, when all compete: its name as the group, protocol generalized_base or generalized_novel, AP50.

    images: {image_id: (height, width)}; annotations: rows of the table; detections: rows of the table by the categories
    that competed, "all", "base" or "novel"; base, novel: names; judged: of the images that were not judged for every
    category, those that they were judged for: detections of others are ignored there. not_exhaustive, max_detections, and the
    values: as average_precision has them.
    """
    groups = {"base": tuple(base), "novel": tuple(novel), "all": (*base, *novel)}
    annotations = [row for row in annotations if row["image_id"] in images and row["category"] in groups["all"]]
    for protocol in ("generalized", "constrained"):
        for kind in ("bbox", "segm"):
            if protocol == "generalized":
                alone = {name: (name,) for name in groups["all"]}
                rounds = [("all", alone | {group: names for group, names in groups.items() if names})]
            else:
                rounds = [(group, {group: groups[group]}) for group in ("base", "novel") if groups[group]]
            for competing, measured in rounds:
                image_ids = images_holding(annotations, groups[competing])
                sizes = {image_id: images[image_id] for image_id in image_ids}
                counted = list(of_judged(detections.get(competing, []), judged or {}))
                scores = average_precision(
                    sizes,
                    annotations,
                    counted,
                    measured,
                    kind,
                    not_exhaustive=not_exhaustive,
                    max_detections=max_detections,
                )
                for group, values in scores.items():
                    row = {"protocol": protocol, "kind": kind, "group": group}
                    if group not in groups:
                        row["protocol"] += "_base" if group in base else "_novel"
                        yield row | {"metric": "AP50", "value": values["AP50"]}
                        continue
                    for metric, value in values.items():
                        yield row | {"metric": metric, "value": value}
