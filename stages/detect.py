"""Run a trained detector over the validation images, with all names competing, and with base and novel ones alone."""

from pipeline.stage import Stage

STAGE = Stage(
    name="detect",
    reads=("images", "embeddings"),
    writes=("detections",),
    per="detector",
    gpu=1,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    import torch

    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from structures.pictures import float_on, uint8_tensor
    from training.tables import text_vectors

    p = job.params
    model = load_detector(*job.checkpoint(job.shard)).to(job.device, memory_format=torch.channels_last)
    embeddings = job.table("embeddings").to_pylist()
    vocabularies = {"all": [row for row in embeddings if row["group"] != "open"] or embeddings}
    vocabularies |= {group: [row for row in embeddings if row["group"] == group] for group in ("base", "novel")}
    names = {group: [row["category"] for row in rows] for group, rows in vocabularies.items() if rows}
    vectors = {group: text_vectors(vocabularies[group], job.device) for group in names}
    pictures = job.pictures(
        ((image,) for image in job.images("val")),
        lambda picture, _: uint8_tensor(picture),
        description="detecting",
        total=job.count_split("val"),
    )
    with job.writer("detections") as writer:
        for image, picture in pictures:
            detections = model.detect(
                float_on(job.device, picture),
                vectors,
                score_threshold=p.score_threshold,
                nms_iou=p.nms,
                max_detections=p.max_detections,
            )
            for group, of_group in detections.items():
                key = {"detector": job.shard, "image_id": image["image_id"], "vocabulary": group}
                for rank, detection in enumerate(detection_rows(of_group, names[group])):
                    writer.add(**key, rank=rank, **detection)


if __name__ == "__main__":
    STAGE.main(run)
