"""Outline the object in every pseudo-box: by a small network trained on that crop alone (OVIS, Eq. 7), or by the
colours of what is activated and of what is around the box."""

from pipeline.stage import Stage

STAGE = Stage(
    name="segment",
    reads=("images", "gradcam", "pseudo_boxes"),
    writes=("pseudo_masks",),
    shares=("activation_map", "gradcam.threshold"),
    per="shard",
    gpu=1,
    threads=8,
    mem_mb=12000,
    runtime=240,
)


def run(job) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import cv2

    from models.grounding.crops import cut_crop, paste_mask
    from models.grounding.maps import activations_of_nouns
    from models.masks.interface import load_method, probabilities
    from pipeline.prefetch import prefetch

    p, activation_map = job.params, job.shared.activation_map
    one_map = job.activation_options()
    shape = {"side": p.side, "margin": p.margin, "interpolation": activation_map.interpolation}
    cv2.setNumThreads(1)
    outline = load_method(p.method)

    def cut(picture, image: dict, rows: list[dict], maps: list[dict]) -> list:
        """The crop of each box of an image, None where it is too small."""
        activation = activations_of_nouns(maps, **one_map)
        return [cut_crop(picture, activation[row["category"]], row["box"], **shape) for row in rows]

    def crops():
        images = job.by_image("pseudo_boxes", "gradcam")
        total = job.count_images("pseudo_boxes")
        for _, rows, _, of_image in job.pictures(images, cut, description="masks", total=total):
            for row, crop in zip(rows, of_image):
                if crop:
                    yield row, crop
                else:
                    detail = f"{row['box'].tolist()} holds no 2 x 2 pixels"
                    job.reject(row["image_id"], "tiny_box", detail, row["category"], row["instance"])

    def rng(row: dict):
        return job.rng(row["image_id"], row["category"], row["instance"])

    options = {"batch": p.batch, "device": job.device, **job.method_options()}
    outlined = probabilities(outline, crops(), rng if job.random else None, **options)

    def paste(item: tuple) -> tuple:
        row, crop, probability = item
        return row, paste_mask(probability, crop)

    with job.writer("pseudo_masks") as writer, ThreadPoolExecutor(job.threads) as pool:
        for row, mask in prefetch(paste, outlined, pool=pool, window=2 * p.batch):
            if mask:
                writer.add(**row, **mask)
            else:
                detail = "no pixel of the box is object"
                job.reject(row["image_id"], "empty_mask", detail, row["category"], row["instance"])


if __name__ == "__main__":
    STAGE.main(run)
