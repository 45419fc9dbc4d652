"""Score each detector as the papers do: constrained and generalized, base, novel and all, boxes and masks."""

from store.stage import Stage

STAGE = Stage(
    name="evaluate",
    reads=("images", "categories", "annotations", "detections", "label_metrics"),
    writes=("metrics",),
)


def run(job) -> None:
    from models.protocols import protocol_scores
    from sources.vocabulary import read_vocabulary
    from store.progress import progress

    vocabulary = read_vocabulary(job.paths("categories")[0])
    images = {row["image_id"]: (row["height"], row["width"]) for row in job.rows("images") if row["split"] == "val"}
    truth = list(job.rows("annotations"))
    detections: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections"):
        detections.setdefault((row["detector"], row["vocabulary"]), []).append(row)
    with job.writer("metrics") as writer:
        for detector in job.parts("detections"):
            found = {group: rows for (owner, group), rows in detections.items() if owner == detector}
            scores = protocol_scores(images, truth, found, vocabulary.base, vocabulary.novel)
            for row in progress(scores, description=f"scoring {detector}", unit="value"):
                writer.add(detector=detector, **row)
        for row in job.rows("label_metrics"):
            writer.add(detector="", **row)


if __name__ == "__main__":
    STAGE.main(run)
