"""Measure what speaks for each pseudo-label without any truth: its maps, the boxes beside it, the detector of the round before
(ours)."""

from pipeline.conditions import first_round, later_round
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="label_quality",
    reads=(
        "images",
        "gradcam",
        "wspn_proposals",
        Input("pseudo_masks", when=first_round),
        Input("round_masks", when=later_round),
        Input("embeddings", when=later_round),
    ),
    round_before=(Input("train_detector", when=later_round),),
    writes=("label_quality",),
    shares=("activation_map", "gradcam.threshold"),
    per="shard",
    gpu=1,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    import numpy as np

    from models.grounding.evidence import found_again, margin, stability
    from models.grounding.maps import activation_maps, activations_of_nouns

    p, linear = job.params, job.shared.activation_map.interpolation == "linear"
    one_map = job.activation_options()
    table = "round_masks" if job.has("round_masks") else "pseudo_masks"
    columns = {table: ["image_id", "category", "instance", "box", "segmentation"]}
    images = job.by_image(table, "gradcam", "wspn_proposals", columns=columns)
    with job.writer("label_quality") as writer:
        for image, labels, maps, proposals, detections in _detected(job, images, job.count_images(table)):
            size = image["height"], image["width"]
            rows = {row["category"]: row for row in maps}
            activations = activations_of_nouns(maps, **one_map)
            boxes = proposals[0]["boxes"] if proposals else np.zeros((0, 4), np.float32)
            for label in sorted(labels, key=lambda row: (row["category"], row["instance"])):
                name = label["category"]
                ahead = margin(activations[name], label["box"], boxes, size, area_weight=p.area_weight, linear=linear)
                found, overlap = found_again(label["segmentation"], detections.get(name, ()))
                writer.add(
                    image_id=image["image_id"],
                    category=name,
                    instance=label["instance"],
                    margin=ahead,
                    stability=stability(activation_maps(rows[name]), label["box"], size),
                    mirrored=rows[name]["mirrored"],
                    match=float(rows[name]["itm_logit"][0]),
                    detector=found,
                    detector_iou=overlap,
                )


def _detected(job, images, total: int):
    """(image, its labels, maps and proposals, {category: (score, mask) of what the detector of the round before finds of it})
    of every image; before the second round there is none, and it finds nothing."""
    from structures.progress import progress

    if not job.has("train_detector"):
        for item in progress(images, description="measuring labels", unit="image", total=total):
            yield *item, {}
        return
    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    p = job.params
    rows = job.table("embeddings").to_pylist()
    names, text = [row["category"] for row in rows], text_vectors(rows, job.device)
    model = load_detector(*job.checkpoint("train_detector")).to(job.device)
    thresholds = {name: getattr(p, name) for name in ("score_threshold", "max_detections")} | {"nms_iou": p.nms}
    shown = {"description": "measuring labels", "total": total}
    for *item, picture in job.pictures(images, lambda picture, *_: uint8_tensor(picture), **shown):
        found = model.detect(float_on(job.device, picture), {"all": text}, **thresholds)["all"]
        by_name: dict[str, list] = {}
        for row in detection_rows(found, names):
            by_name.setdefault(row["category"], []).append((row["score"], row["segmentation"]))
        yield *item, by_name


if __name__ == "__main__":
    STAGE.main(run)
