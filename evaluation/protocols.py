"""The two protocols of open-vocabulary detection (OVIS and XPM, experiments).

Generalized: all names compete, on all images that hold a base or novel object. Constrained: only the group's names
compete, on images that hold one of the group's objects.
"""

from collections.abc import Iterator, Sequence

from evaluation.average_precision import average_precision


def protocol_scores(
    images: dict[str, tuple[int, int]],
    truth: list[dict],
    detections: dict[str, list[dict]],
    base: Sequence[str],
    novel: Sequence[str],
) -> Iterator[dict]:
    """protocol, kind (bbox, segm), group (base, novel, all), metric, value, for every combination that has names.

    images: {image_id: (height, width)}; truth: rows of `annotations`; detections: rows of `detections` by the names that
    competed, "all", "base" or "novel". Values as average_precision gives them.
    """
    groups = {"base": tuple(base), "novel": tuple(novel), "all": (*base, *novel)}
    truth = [row for row in truth if row["image_id"] in images and row["category"] in groups["all"]]
    for protocol in ("generalized", "constrained"):
        for kind in ("bbox", "segm"):
            if protocol == "generalized":
                rounds = [("all", {group: names for group, names in groups.items() if names})]
            else:
                rounds = [(group, {group: groups[group]}) for group in ("base", "novel") if groups[group]]
            for rivals, measured in rounds:
                counted = {row["image_id"] for row in truth if row["category"] in groups[rivals]}
                sizes = {image_id: images[image_id] for image_id in counted}
                scores = average_precision(sizes, truth, detections.get(rivals, []), measured, kind)
                for group, values in scores.items():
                    about = {"protocol": protocol, "kind": kind, "group": group}
                    yield from (about | {"metric": metric, "value": value} for metric, value in values.items())
