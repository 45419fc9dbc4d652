"""Label each noun of a caption with what the detector of the round before finds of it, where activation agrees (ours)."""

from pipeline.stage import Stage

STAGE = Stage(
    name="relabel",
    reads=("images", "nouns", "gradcam", "embeddings"),
    round_before=("train_detector",),
    writes=("round_masks",),
    shares=("activation_map", "gradcam.threshold"),
    per="shard",
    gpu=1,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    import numpy as np

    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from models.grounding.box_choice.soft_overlap import soft_overlap
    from models.grounding.crops import agreement
    from models.grounding.maps import activation_maps, enlarged, united
    from models.grounding.pairs import instances_wanted
    from models.grounding.relabel import choose_labels, evidence
    from structures.boxes import xywh_to_xyxy
    from structures.masks import decode
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    p, activation_map = job.params, job.shared.activation_map
    union = {"union": activation_map.union, "threshold": job.shared.gradcam.threshold}
    rows = job.table("embeddings").to_pylist()
    number, text = {row["category"]: i for i, row in enumerate(rows)}, text_vectors(rows, job.device)
    model = load_detector(*job.checkpoint("train_detector")).to(job.device)

    def known(image_id: str, maps: list[dict]) -> list[dict]:
        for row in maps:
            if row["category"] not in number:
                detail = f"{row['category']} has no vector: add it to embed_text.names"
                job.reject(image_id, "no_embedding", detail, row["category"])
        return [row for row in maps if row["category"] in number]

    def measured(found: list[dict], activation: np.ndarray) -> list[dict]:
        """Those of a noun's detections whose masks hold a pixel, with what the activation says of each beside the
        detector."""
        rows, total = [], float(activation.sum())
        for row in found:
            mask = decode(row["segmentation"])
            x0, y0, x1, y1 = box = xywh_to_xyxy(np.array(row["bbox"], np.float32))
            window = np.s_[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            row |= {
                "box": box,
                "area": float(mask.sum()),
                "inside": float(activation[mask].sum()),
                "coverage": float(activation[window].sum()) / total if total else 0.0,
                "agreement": agreement(mask[window], activation[window]),
            }
            rows += [row] * bool(row["area"])
        scores, inside, areas = (np.array([row[name] for row in rows]) for name in ("score", "inside", "area"))
        overlaps = soft_overlap(inside, areas, total, area_weight=p.area_weight)
        for row, value in zip(rows, evidence(scores, overlaps, activation_weight=p.activation_weight)):
            row["evidence"] = float(value)
        return rows

    pictures = job.pictures(
        job.by_image("gradcam", "nouns"),
        lambda picture, *_: uint8_tensor(picture),
        description="labels of the round",
        total=job.count_images("gradcam"),
    )
    with job.writer("round_masks") as writer:
        for image, maps, nouns, picture in pictures:
            image_id, maps = image["image_id"], known(image["image_id"], maps)
            if not maps:
                continue
            names = [row["category"] for row in maps]
            vectors = {"named": text[[number[name] for name in names]]}
            thresholds = {"score_threshold": p.min_score, "nms_iou": p.nms, "max_detections": p.max_detections}
            detections = model.detect(float_on(job.device, picture), vectors, **thresholds)["named"]
            found: dict[str, list[dict]] = {name: [] for name in names}
            for row in detection_rows(detections, names):
                found[row["category"]].append(row)
            for row in maps:
                name, activation = row["category"], united(activation_maps(row), **union)
                activation = enlarged(activation, *picture.shape[-2:], interpolation=activation_map.interpolation)
                found[name] = measured(found[name], activation)
            wanted = instances_wanted(nouns, p.instances)
            labels, refused = choose_labels(
                [np.array([row["evidence"] for row in found[name]]) for name in names],
                [[row["segmentation"] for row in found[name]] for name in names],
                [wanted.get(name, 1) for name in names],
                min_share=p.min_share,
                max_overlap=p.max_overlap,
            )
            for label in labels:
                row = found[names[label.noun]][label.candidate]
                writer.add(
                    image_id=image_id,
                    category=names[label.noun],
                    instance=label.instance,
                    box=row["box"],
                    score=label.evidence,
                    rank=label.candidate,
                    coverage=min(row["coverage"], 1.0),
                    segmentation=row["segmentation"],
                    area=row["area"],
                    agreement=row["agreement"],
                )
            labelled = {label.noun for label in labels}
            for noun, name in enumerate(names):
                if noun in refused:
                    detail = f"its masks are those of {names[refused[noun]]}"
                    job.reject(image_id, "taken", detail, name, counted=False)
                elif noun not in labelled:
                    job.reject(image_id, "not_found", f"no region above {p.min_score}", name, counted=False)


if __name__ == "__main__":
    STAGE.main(run)
