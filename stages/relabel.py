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
    import cv2
    import numpy as np

    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from models.grounding.crops import agreement
    from models.grounding.maps import activation_maps, united
    from models.grounding.pairs import instances_wanted
    from models.grounding.relabel import choose_labels, evidence, soft_overlap
    from structures.boxes import xywh_to_xyxy
    from structures.masks import decode
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    p, activation_map = job.params, job.shared.activation_map
    union = {"union": activation_map.union, "threshold": job.shared.gradcam.threshold}
    enlarge = cv2.INTER_NEAREST if activation_map.interpolation == "nearest" else cv2.INTER_LINEAR
    rows = job.table("embeddings").to_pylist()
    number, text = {row["category"]: i for i, row in enumerate(rows)}, text_vectors(rows, job.device)
    model = load_detector(*job.checkpoint("train_detector")).to(job.device)

    def known(image_id: str, maps: list[dict]) -> list[dict]:
        for row in maps:
            if row["category"] not in number:
                detail = f"{row['category']} has no vector: add it to embed_text.names"
                job.reject(image_id, "no_embedding", detail, row["category"])
        return [row for row in maps if row["category"] in number]

    def measured(found: list[dict], activation) -> list[dict]:
        """What the activation says of each mask beside what the detector does."""
        total = float(activation.sum())
        for row in found:
            mask = decode(row["segmentation"])
            x0, y0, x1, y1 = row["box"] = xywh_to_xyxy(np.array(row["bbox"], np.float32))
            box = np.s_[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            row["area"], inside = float(mask.sum()), float(activation[mask].sum())
            row["coverage"] = float(activation[box].sum()) / total if total else 0.0
            row["agreement"] = agreement(mask[box], activation[box])
            overlap = soft_overlap(np.array([inside]), np.array([row["area"]]), total, area_weight=p.area_weight)
            row["evidence"] = float(
                evidence(np.array([row["score"]]), overlap, activation_weight=p.activation_weight)[0]
            )
        return found

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
            size = picture.shape[-1], picture.shape[-2]
            for row in maps:
                activation = cv2.resize(united(activation_maps(row), **union), size, interpolation=enlarge)
                of_noun = [r for r in found[row["category"]] if decode(r["segmentation"]).any()]
                found[row["category"]] = measured(of_noun, activation)
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
