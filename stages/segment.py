"""Outline the object in every pseudo-box by a small network trained on that crop alone (OVIS, Eq. 7)."""

from store.stage import Stage

STAGE = Stage(name="segment", reads=("images", "gradcam", "pseudo_boxes"), writes=("pseudo_masks",), per="shard")


def run(job) -> None:
    import numpy as np
    import torch

    from models.crops import cut_crop, paste_mask
    from models.wss import segment_crops, weight_count
    from sources.images import ImageError, read_image
    from store.progress import progress
    from store.tables import activation_maps

    p = job.params
    torch.set_num_threads(job.threads)
    paths = {row["image_id"]: row["path"] for row in job.rows("images", ["image_id", "path"])}
    maps = {(row["image_id"], row["category"]): row for row in job.rows("gradcam")}
    numbers = weight_count(p.channels)

    def crops():
        shown, image = None, None
        boxes = job.rows("pseudo_boxes")
        for row in progress(boxes, description="masks", unit="crop", total=job.count("pseudo_boxes")):
            image_id, category, instance = row["image_id"], row["category"], row["instance"]
            if image_id != shown:
                shown, image = image_id, None
                try:
                    image = read_image(job.root, paths[image_id])
                except ImageError as error:
                    job.reject(image_id, error.reason, str(error))
            if image is None:
                continue
            activation = activation_maps(maps[image_id, category]).max(0)
            crop = cut_crop(image, activation, row["box"], side=p.side, margin=p.margin)
            if crop is None:
                job.reject(image_id, "tiny_box", f"{row['box'].tolist()} holds no 2 x 2 pixels", category, instance)
                continue
            rng = job.rng(image_id, category, instance)
            normal = rng.standard_normal(numbers, dtype=np.float32)
            yield row, crop, normal, rng.random((2, p.points), dtype=np.float32)

    with job.writer("pseudo_masks") as writer:
        for chunk in _chunks(crops(), p.batch):
            full = chunk + [chunk[0]] * (p.batch - len(chunk) if len(chunk) == 1 and p.batch > 1 else 0)
            stacked = [
                torch.from_numpy(np.stack(part)).to(job.device)
                for part in zip(*((c.pixels, c.activation, normal, uniform) for _, c, normal, uniform in full))
            ]
            probabilities = segment_crops(
                *stacked,
                channels=p.channels,
                steps=p.steps,
                lr=p.lr,
                foreground=p.foreground,
                background=p.background,
                background_share=p.background_share,
            )
            for (row, crop, _, _), probability in zip(chunk, probabilities.cpu().numpy()):
                mask = paste_mask(probability, crop)
                if mask is None:
                    key = row["category"], row["instance"]
                    job.reject(row["image_id"], "empty_mask", "the network found no foreground", *key)
                    continue
                writer.add(**row, **mask)


def _chunks(items, size: int):
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


if __name__ == "__main__":
    STAGE.main(run)
