"""Run a trained detector over the validation images, with all names competing, and with base and novel ones alone."""

from pipeline.stage import Stage

STAGE = Stage(name="detect", reads=("images", "embeddings"), writes=("detections",), per="detector")


def run(job) -> None:
    import torch
    from torchvision.transforms.functional import to_tensor

    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from pipeline.prefetch import ahead
    from sources.images import ImageError, picture_or_fault
    from structures.progress import progress
    from training.detector import text_of

    p = job.params
    torch.set_num_threads(job.threads)
    model = load_detector(*job.checkpoint(job.shard)).to(job.device, memory_format=torch.channels_last)
    embeddings = job.table("embeddings").to_pylist()
    competing = {"all": [row for row in embeddings if row["split"] != "open"] or embeddings}
    competing |= {group: [row for row in embeddings if row["split"] == group] for group in ("base", "novel")}
    names = {group: [row["category"] for row in rows] for group, rows in competing.items() if rows}
    vectors = {group: text_of(job, competing[group]) for group in names}
    count = sum(row["split"] == "val" for row in job.rows("images", ["image_id", "split"]))
    rows = (row for row in job.rows("images", ["image_id", "path", "split"]) if row["split"] == "val")

    def read(row: dict) -> tuple:
        return row["image_id"], picture_or_fault(job.root, row["path"], to_tensor)

    pictures = ahead(read, rows, threads=job.threads)
    with job.writer("detections") as writer:
        for image_id, picture in progress(pictures, description="detecting", unit="image", total=count):
            if isinstance(picture, ImageError):
                job.reject(image_id, picture.reason, str(picture))
                continue
            found = model.detect(
                picture.to(job.device),
                vectors,
                score_threshold=p.score_threshold,
                nms_iou=p.nms,
                max_detections=p.max_detections,
            )
            for group, result in found.items():
                for detection in detection_rows(result, names[group]):
                    writer.add(detector=job.shard, image_id=image_id, vocabulary=group, **detection)


if __name__ == "__main__":
    STAGE.main(run)
