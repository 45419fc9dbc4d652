"""Run a trained detector over the validation images, with all names competing, and with base and novel ones alone."""

from store.stage import Stage

STAGE = Stage(name="detect", reads=("images", "embeddings"), writes=("detections",), per="detector")


def run(job) -> None:
    import numpy as np
    import torch
    from pycocotools import mask as coco_mask
    from torchvision.transforms.functional import to_tensor

    from models.detector import OpenVocabularyMaskRCNN
    from sources.images import ImageError, read_image
    from store.progress import progress

    p = job.params
    torch.set_num_threads(job.threads)
    tensors, settings = job.checkpoint(job.shard)
    model = OpenVocabularyMaskRCNN(**settings["detector"])
    model.load_state_dict(tensors)
    model.to(job.device).eval()
    embeddings = job.table("embeddings").to_pylist()
    names = {"all": [row for row in embeddings if row["split"] != "open"] or embeddings}
    names |= {group: [row for row in embeddings if row["split"] == group] for group in ("base", "novel")}
    names = {group: rows for group, rows in names.items() if rows}
    vectors = {
        group: torch.tensor(np.array([row["vector"] for row in rows], np.float32)).to(job.device)
        for group, rows in names.items()
    }
    rows = [row for row in job.rows("images") if row["split"] == "val"]
    with job.writer("detections") as writer:
        for row in progress(rows, description="detecting", unit="image", total=len(rows)):
            try:
                picture = to_tensor(read_image(job.root, row["path"])).to(job.device)
            except ImageError as error:
                job.reject(row["image_id"], error.reason, str(error))
                continue
            found = model.detect(
                picture,
                vectors,
                score_threshold=p.score_threshold,
                nms_iou=p.nms,
                max_detections=p.max_detections,
            )
            for group, result in found.items():
                masks = result["masks"].cpu().numpy().astype(np.uint8)
                for label, score, (x0, y0, x1, y1), mask in zip(
                    result["labels"].tolist(), result["scores"].tolist(), result["boxes"].tolist(), masks
                ):
                    rle = coco_mask.encode(np.asfortranarray(mask))
                    writer.add(
                        detector=job.shard,
                        image_id=row["image_id"],
                        vocabulary=group,
                        category=names[group][label]["category"],
                        score=score,
                        bbox=[x0, y0, x1 - x0, y1 - y0],
                        segmentation={"size": list(mask.shape), "counts": rle["counts"].decode("ascii")},
                    )


if __name__ == "__main__":
    STAGE.main(run)
