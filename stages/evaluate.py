"""Score each detector as the papers do: constrained and generalized, base, novel and all, boxes and masks.

Generalized: all names compete, on all images that hold a base or novel object. Constrained: only the group's names
compete, on images that hold one of the group's objects.
"""

from store.stage import Stage

STAGE = Stage(
    name="evaluate",
    reads=("images", "categories", "annotations", "detections", "label_metrics"),
    writes=("metrics",),
)


def run(job) -> None:
    from models.coco_scores import average_precision
    from sources.vocabulary import read_vocabulary
    from store.progress import progress

    vocabulary = read_vocabulary(job.paths("categories")[0])
    groups = {"base": vocabulary.base, "novel": vocabulary.novel, "all": vocabulary.measured}
    known = set(vocabulary.measured)
    images = {row["image_id"]: (row["height"], row["width"]) for row in job.rows("images") if row["split"] == "val"}
    truth = [row for row in job.rows("annotations") if row["image_id"] in images and row["category"] in known]
    detections: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections"):
        detections.setdefault((row["detector"], row["vocabulary"]), []).append(row)
    tasks = [
        (detector, protocol, kind, group)
        for detector in job.parts("detections")
        for protocol in ("generalized", "constrained")
        for kind in ("bbox", "segm")
        for group in groups
        if groups[group] and not (protocol == "constrained" and group == "all")
    ]
    with job.writer("metrics") as writer:
        for detector, protocol, kind, group in progress(tasks, description="scoring", unit="score", total=len(tasks)):
            names = groups[group]
            rivals, holders = ("all", known) if protocol == "generalized" else (group, set(names))
            counted = {row["image_id"] for row in truth if row["category"] in holders}
            scores = average_precision(
                {image_id: images[image_id] for image_id in counted},
                [row for row in truth if row["category"] in names],
                detections.get((detector, rivals), []),
                list(names),
                kind,
            )
            for metric, value in scores.items():
                writer.add(detector=detector, protocol=protocol, kind=kind, group=group, metric=metric, value=value)
        for row in job.rows("label_metrics"):
            writer.add(detector="", **row)


if __name__ == "__main__":
    STAGE.main(run)
