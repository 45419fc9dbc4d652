"""Outline the object in every pseudo-box: by a small network trained on that crop alone (OVIS, Eq. 7), or by the colours
of what is activated and of what is around the box."""

from pipeline.stage import Stage

STAGE = Stage(
    name="segment", reads=("images", "gradcam", "pseudo_boxes"), writes=("pseudo_masks",), per="shard", random=True
)


def run(job) -> None:
    import cv2
    import torch

    from models.grounding.crops import cut_crop, paste_mask
    from pipeline.prefetch import ahead
    from sources.images import ImageError, read_image
    from store.join import by_image
    from store.parquet import activation_maps
    from structures.batches import batches
    from structures.progress import progress

    p = job.params
    torch.set_num_threads(job.threads)
    cv2.setNumThreads(1)
    segmenter = _segmenter(p, job.device)

    def cut(image: tuple) -> list[tuple]:
        """(row, crop, None) of each box of an image; where there is none, (row, None, (reason, detail, key))."""
        rows, path, maps = image
        try:
            picture = read_image(job.root, path)
        except ImageError as error:
            return [(rows[0], None, (error.reason, str(error)))]
        cuts = []
        for row in rows:
            activation = activation_maps(maps[row["category"]]).max(0)
            crop = cut_crop(picture, activation, row["box"], side=p.side, margin=p.margin)
            key = row["category"], row["instance"]
            fault = None if crop else ("tiny_box", f"{row['box'].tolist()} holds no 2 x 2 pixels", *key)
            cuts.append((row, crop, fault))
        return cuts

    def images():
        tables = job.rows("pseudo_boxes"), job.rows("images", ["image_id", "path"]), job.rows("gradcam")
        for _, (rows, [about], maps) in by_image(*tables):
            yield rows, about["path"], {row["category"]: row for row in maps}

    def segmented():
        cuts = (item for image in ahead(cut, images(), threads=job.threads) for item in image)
        for batch in batches(
            progress(cuts, description="masks", unit="crop", total=job.count("pseudo_boxes")), p.batch
        ):
            crops = [crop for _, crop, _ in batch if crop]
            rngs = [job.rng(row["image_id"], row["category"], row["instance"]) for row, crop, _ in batch if crop]
            probabilities = iter(segmenter(crops, rngs) if crops else ())
            for row, crop, fault in batch:
                yield row, crop, fault, next(probabilities) if crop else None

    def paste(item: tuple) -> tuple:
        row, crop, fault, probability = item
        mask = paste_mask(probability, crop) if crop else None
        if crop and mask is None:
            fault = "empty_mask", "no pixel of the box is object", row["category"], row["instance"]
        return row, mask, fault

    with job.writer("pseudo_masks") as writer:
        for row, mask, fault in ahead(paste, segmented(), threads=job.threads, window=2 * p.batch):
            if fault:
                job.reject(row["image_id"], *fault)
            else:
                writer.add(**row, **mask)


def _segmenter(p, device: str):
    """A function from crops and their random numbers to object probabilities, [crops, side, side] float32."""
    import numpy as np
    import torch

    from models.grounding.crops import lab_colours
    from models.masks.grabcut import cut_out
    from models.masks.network import segment_crops, weight_count

    def stacked(*columns: list) -> list[torch.Tensor]:
        """Tensors of a whole batch: batches of one size take the same kernels, so a crop's mask is its own."""
        full = [[*column, *[column[0]] * (p.batch - len(column))] for column in columns]
        return [torch.from_numpy(np.stack(column)).to(device) for column in full]

    def by_network(crops, rngs):
        normal = [rng.standard_normal(weight_count(p.channels), dtype=np.float32) for rng in rngs]
        uniform = [rng.random((2, p.points), dtype=np.float32) for rng in rngs]
        pixels, activation = [crop.pixels for crop in crops], [crop.activation for crop in crops]
        return segment_crops(
            *stacked(pixels, activation, normal, uniform),
            channels=p.channels,
            steps=p.steps,
            lr=p.lr,
            foreground=p.foreground,
            background=p.background,
            background_share=p.background_share,
        )

    def by_colour(crops, _):
        return cut_out(
            *stacked(*zip(*((lab_colours(crop.pixels), crop.activation, crop.inside) for crop in crops))),
            seeds=p.seeds,
            trust=p.trust,
            smoothness=p.smoothness,
            position=p.position,
            components=p.components,
            rounds=p.rounds,
            sweeps=p.sweeps,
        )

    if p.method == "threshold":  # what is activated above a half, inside the box
        return lambda crops, rngs: np.stack([crop.activation * crop.inside for crop in crops])
    method = by_network if p.method == "network" else by_colour
    return lambda crops, rngs: method(crops, rngs)[: len(crops)].cpu().numpy()


if __name__ == "__main__":
    STAGE.main(run)
