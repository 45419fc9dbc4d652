"""Read a data set in COCO's format into the tables images, captions, annotations and labels, split by image."""

from store.stage import Stage

STAGE = Stage(
    name="ingest",
    writes=("images", "captions", "annotations", "labels"),
    root_files=tuple(f"{split}.{kind}" for split in ("train", "val") for kind in ("images", "instances", "captions")),
    per="split",
)


def run(job) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import ExitStack

    from sources.coco import SourceError, read_split
    from sources.images import ImageError, inspect_image
    from store.progress import progress

    images, captions, annotations = {}, [], []
    for name in ("train", "val"):
        part = getattr(job.params, name)
        if not part.images:
            continue
        split = read_split(job.root, part.images, part.instances, part.captions)
        for image_id, reason, detail, key in split.faults:
            job.reject(image_id, reason, detail, key)
        twice = images.keys() & split.images.keys()
        if twice:
            raise SourceError(f"image id {min(twice)} is in train and in val; ids must be unique in a data set")
        images |= {image_id: (name, *rest) for image_id, rest in split.images.items()}
        captions += split.captions
        annotations += split.annotations
    order = sorted(images)
    tasks = [(job.root, images[image_id][1]) for image_id in order]
    kept = {}
    with ProcessPoolExecutor(job.threads) as pool:
        seen = progress(
            pool.map(inspect_image, tasks, chunksize=32),
            description="looking at pictures",
            unit="image",
            total=len(tasks),
        )
        for image_id, found in zip(order, seen):
            split, path, width, height = images[image_id]
            if isinstance(found, ImageError):
                job.reject(image_id, found.reason, str(found))
            elif found[:2] != (width, height):
                detail = f"{path} is {found[0]} x {found[1]} pixels, its JSON says {width} x {height}"
                job.reject(image_id, "wrong_size", detail)
            else:
                row = {"path": path, "width": width, "height": height, "split": split, "sha256": found[2]}
                kept[image_id] = {"image_id": image_id, **row}
    shard_of = {image_id: position % job.shards for position, image_id in enumerate(sorted(kept))}
    labels = sorted({(row["image_id"], row["category"]) for row in annotations})
    tables = {
        "images": [kept[image_id] for image_id in sorted(kept)],
        "captions": [dict(zip(("image_id", "caption_id", "text"), row)) for row in sorted(captions)],
        "annotations": sorted(annotations, key=lambda row: (row["image_id"], row["annotation_id"])),
        "labels": [{"image_id": image_id, "category": category} for image_id, category in labels],
    }
    for table, rows in tables.items():
        with ExitStack() as stack:
            writers = [stack.enter_context(job.writer(table, str(shard))) for shard in range(job.shards)]
            for row in rows:
                if row["image_id"] in shard_of:
                    writers[shard_of[row["image_id"]]].add(**row)


if __name__ == "__main__":
    STAGE.main(run)
