"""Read a data set into the tables images, captions, annotations, labels, judged and category_counts, split by image.

A data set has the parts train and val, and captioned: pictures with captions alone that join the training images.
"""

from pipeline.stage import Stage

PARTS = ("train", "val", "captioned")
STAGE = Stage(
    name="ingest",
    writes=("images", "captions", "annotations", "labels", "judged", "category_counts"),
    per="scatter",
    threads=16,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    from contextlib import ExitStack

    from pipeline.spill import Spill
    from sources.part import Fault, SourceError, text_fault
    from sources.readers import load_reader
    from structures.progress import progress

    parts, listed = {}, {}
    for name in PARTS:
        files = getattr(job.params, name)
        if not files.images:
            continue
        part = parts[name] = load_reader(files.format)(job.root, files, job.threads)
        for fault in part.faults:
            job.reject(*fault)
        twice = listed.keys() & part.images.keys()
        if twice:
            raise SourceError(f"image id {min(twice)} is in two parts of the data set; ids must be unique in it")
        split = "val" if name == "val" else "train"
        for image_id, row in part.images.items():
            fault = text_fault({"image_id": image_id, "path": row[0]})
            if fault:
                job.reject(*fault)
            else:
                listed[image_id] = (split, *row)
    _hold_out(listed, parts, job.params.holdout)
    images = _inspect(job, listed, parts.values())
    order = sorted(images)
    shard_of = _shards(images, job.shards)

    def size_of(image_id: str) -> tuple[int, int] | None:
        row = images.get(image_id)
        return row and (row["height"], row["width"])

    with ExitStack() as stack:
        tables = ("captions", "annotations", "labels", "judged")
        captions, annotations, labels, judged = (stack.enter_context(Spill(job, table)) for table in tables)

        def note(spill: Spill, row) -> None:
            fault = row if isinstance(row, Fault) else text_fault(row)
            if fault:
                job.reject(*fault)
            elif row["image_id"] in shard_of:
                spill.add(shard_of[row["image_id"]], row)

        for name, part in parts.items():
            for row in part.captions:
                note(captions, row)
            for row in part.labels or ():
                note(labels, row)
            exhaustive = part.judged is None and bool(getattr(job.params, name).instances)
            for image_id in () if exhaustive else part.images:
                note(judged, {"image_id": image_id, "category": "", "present": False, "exhaustive": True})
            for row in part.judged or ():
                note(judged, row)
            outlined = part.annotations(size_of)
            for row in progress(outlined, description=f"annotations of {name}", unit="object"):
                note(annotations, row)
                if part.labels is None and not isinstance(row, Fault):
                    note(labels, {key: row[key] for key in ("image_id", "category")})
                if not exhaustive and not isinstance(row, Fault):
                    seen = {key: row[key] for key in ("image_id", "category")}
                    note(judged, seen | {"present": True, "exhaustive": True})
        for spill in (captions, annotations, labels, judged):
            spill.write(unique=spill in (labels, judged))
    with ExitStack() as stack:
        writers = [stack.enter_context(job.writer("images", str(shard))) for shard in range(job.shards)]
        for image_id in order:
            writers[shard_of[image_id]].add(**images[image_id])
    with job.writer("category_counts") as writer:
        counts = parts["train"].counts if "train" in parts else {}
        for category, objects in sorted(counts.items()):
            writer.add(category=category, objects=objects)


def _hold_out(listed: dict, parts: dict, share: float) -> None:
    """Where the data set has no val part, give it every so-many-th of the training images."""
    if "val" in parts or not share:
        return
    every = max(2, round(1 / share))
    for image_id in sorted(listed)[every // 2 :: every]:
        listed[image_id] = ("val", *listed[image_id][1:])


def _shards(images: dict[str, dict], shards: int) -> dict[str, int]:
    """{image id: its shard}, in the order of the ids: in turn, but for pictures inside of files that hold many; those of a
    split are divided, in the order of their paths, into runs of one length, so that a job reads few such files, and each from its
    start to its end."""
    from sources.packed import packed

    files: list[str] = []
    runs: dict[str, list[str]] = {}
    for image_id in sorted(images):
        row = images[image_id]
        (runs.setdefault(row["split"], []) if packed(row["path"]) else files).append(image_id)
    shard_of = {image_id: position % shards for position, image_id in enumerate(files)}
    for run in runs.values():
        run.sort(key=lambda image_id: images[image_id]["path"])
        shard_of |= {image_id: position * shards // len(run) for position, image_id in enumerate(run)}
    return shard_of


def _inspect(job, listed: dict, parts) -> dict[str, dict]:
    """The rows of the pictures that can be used; the others become rejects, and those that parts say are missing."""
    from concurrent.futures import ProcessPoolExecutor

    from sources.images import ImageError, inspect_image
    from structures.progress import progress

    order = sorted(listed)
    tasks = [(job.root, listed[image_id][1], job.params.max_pixels) for image_id in order]
    images, missing = {}, []
    with ProcessPoolExecutor(job.threads) as pool:
        inspected = pool.map(inspect_image, tasks, chunksize=32)
        bar = progress(inspected, description="looking at pictures", unit="image", total=len(tasks))
        for image_id, picture in zip(order, bar):
            split, path, width, height = listed[image_id]
            if isinstance(picture, ImageError):
                if picture.reason in ("missing_image", "unreachable_image"):
                    missing.append((image_id, picture))
                else:
                    job.reject(image_id, picture.reason, str(picture))
            elif width is not None and picture[:2] != (width, height):
                detail = f"{path} is {picture[0]} x {picture[1]} pixels, its JSON says {width} x {height}"
                job.reject(image_id, "wrong_size", detail)
            else:
                row = {"path": path, "width": picture[0], "height": picture[1], "split": split, "sha256": picture[2]}
                images[image_id] = {"image_id": image_id, **row}
    known = sum(part.missing_count for part in parts)
    too_many = len(missing) + known > job.params.max_missing_fraction * (len(listed) + known)
    for image_id, error in missing:
        job.reject(image_id, error.reason, str(error), counted=too_many)
    for part in parts:
        for fault in part.missing:
            job.reject(*fault, counted=too_many)
    return images


if __name__ == "__main__":
    STAGE.main(run)
