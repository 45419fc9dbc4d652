"""Read a data set into the tables images, captions, annotations, labels, judged, source_categories and category_counts, split by image.

A data set has the parts train and val, and captioned: pictures with captions alone that join the training images; or it is of
several sources, each with such parts. Then ids, and paths of pictures, begin with the source's name.
"""

from pipeline.stage import Stage

STAGE = Stage(
    name="ingest",
    writes=("images", "captions", "annotations", "labels", "judged", "source_categories", "category_counts"),
    shares=("sources",),
    per="scatter",
    threads=16,
    mem_mb=16000,
    runtime=120,
)


def run(job) -> None:
    from collections import Counter

    from pipeline.picture_list import PictureList

    with PictureList(job.scratch / "pictures.sqlite") as pictures:
        parts = list(_list(job, pictures))
        _inspect(job, pictures, _held_out_of(parts))
        if len(job.sources) > 1:
            _reject_repeated(job, pictures, parts)
        _write_images(job, pictures)
        _write_rows(job, pictures, parts)
    counts = Counter()
    for part in parts:
        counts.update(part.rows.counts if part.name == "train" else {})
    with job.writer("category_counts") as writer:
        for category, objects in sorted(counts.items()):
            writer.add(category=category, objects=objects)
    with job.writer("source_categories") as writer:
        for source, category in sorted(_annotated_categories(parts)):
            writer.add(source=source, category=category)


def _annotated_categories(parts: list) -> set[tuple[str, str]]:
    """(source, category) of all that several sources look for in every picture: no one of them looks for what others do."""
    exhaustive = [part for part in parts if part.prefix and part.exhaustive]
    return {(part.prefix.removesuffix("/"), name) for part in exhaustive for name in part.rows.categories}


def _list(job, pictures):
    """Put the pictures of every part on the list; the parts."""
    from pipeline.picture_list import ListedPart
    from sources.readers import load_reader

    number = 0
    for place, source in enumerate(job.sources):
        for name, files in source.parts.items():
            if files.images:
                prefix = f"{source.name}/" if source.name else ""
                rows = load_reader(files.format)(source.root, files, job.threads)
                exhaustive = rows.judged is None and bool(files.instances)
                part = ListedPart(number, place, prefix, f"{prefix}{name}", name, exhaustive, rows)
                pictures.add(_pictures(job, pictures, part))
                yield part
                number += 1


def _pictures(job, pictures, part):
    """The pictures of a part; the others become rejects, or are noted as missing."""
    from pipeline.picture_list import Picture
    from sources.packed import packed
    from sources.part import Fault, Missing, text_fault

    split = "val" if part.name == "val" else "train"
    for item in part.rows.pictures():
        image_id, *rest = item
        image_id = f"{part.prefix}{image_id}"
        if isinstance(item, Missing):
            pictures.miss(image_id, *rest[:2], listed=False)
        elif isinstance(item, Fault):
            job.reject(image_id, *rest)
        else:
            path, width, height = rest[0]
            path = f"{part.prefix}{path}"
            picture = Picture(image_id, part.number, split, path, width, height, packed=bool(packed(path)))
            fault = text_fault({"image_id": image_id, "path": picture.path})
            if fault:
                job.reject(*fault)
            else:
                yield picture


def _held_out_of(parts: list) -> set[int]:
    """The numbers of the parts of whose pictures val is every so-many-th: none where there is a val part, and train rather
    than captioned, of which nothing can be scored."""
    names = {part.name for part in parts}
    first = next(name for name in ("val", "train", "captioned") if name in names)
    return {part.number for part in parts if part.name == first != "val"}


def _inspect(job, pictures, hold_out: set[int]) -> None:
    """Look at every picture; those that can't be used become rejects, and those that parts say are missing. hold_out: parts
    of whose pictures every so-many-th becomes one of val."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from itertools import chain, count

    from pipeline.prefetch import prefetch
    from sources.images import ImageError, inspect_images
    from structures.batches import batches
    from structures.progress import progress

    every, places = max(2, round(1 / job.params.holdout)) if job.params.holdout else 0, count()
    total = pictures.count()
    with ProcessPoolExecutor(job.threads) as pool:
        work = partial(_looked_at, inspect_images, job.root, job.params.max_pixels)
        results = prefetch(work, batches(pictures.listed(), 32), pool=pool, window=4 * job.threads)
        bar = progress(chain.from_iterable(results), description="looking at pictures", unit="image", total=total)
        for batch in batches(bar, 1000):
            usable = []
            for listed, found in batch:
                held_out = every and listed.part in hold_out and next(places) % every == every // 2
                split = "val" if held_out else listed.split
                if isinstance(found, ImageError):
                    fault = listed.image_id, found.reason, str(found)
                    if found.reason in ("missing_image", "unreachable_image"):
                        pictures.miss(*fault, listed=True)
                    else:
                        job.reject(*fault)
                elif listed.width is not None and found[:2] != (listed.width, listed.height):
                    width, height, _ = found
                    detail = (
                        f"{listed.path} is {width} x {height} pixels, its JSON says {listed.width} x {listed.height}"
                    )
                    job.reject(listed.image_id, "wrong_size", detail)
                else:
                    width, height, sha256 = found
                    usable.append(listed._replace(split=split, width=width, height=height, sha256=sha256))
            pictures.looked_at(usable)
    known, missing = (pictures.count_missing(listed=listed) for listed in (False, True))
    too_many = missing + known > job.params.max_missing_fraction * (total + known)
    for fault in pictures.missing():
        job.reject(*fault, "", counted=too_many)


def _looked_at(inspect_images, root, max_pixels: int, listed: list) -> list[tuple]:
    """(picture of the list, what inspect_image says of it) of each."""
    return list(zip(listed, inspect_images([(root, picture.path, max_pixels) for picture in listed])))


def _reject_repeated(job, pictures, parts: list) -> None:
    """Of pictures with the same bytes in several sources those of one source are kept: of one that has it in val, else of the
    first; what the others say of them is not read."""
    sources = {part.number: part.source for part in parts}
    for image_id, kept in pictures.drop_repeated(sources):
        detail = (
            f"the same picture as {kept}, of another source, which is kept; put what both say of it into one source"
        )
        job.reject(image_id, "repeated_picture", detail, counted=False)


def _write_images(job, pictures) -> None:
    """Give every picture that can be used to a shard, and write the table images."""
    from pipeline.spill import Spill

    pictures.assign(job.shards, sources=any(source.name for source in job.sources))
    with Spill(job, "images") as images:
        for picture in pictures.usable():
            row = picture._asdict()
            del row["part"], row["packed"]
            images.add(pictures.shard(picture.image_id), row)
        images.write()


_IDS = ("image_id", "caption_id", "annotation_id")


def _prefixed(row, prefix: str):
    """A row of a source, or a fault, with ids that are unique in the data set."""
    if not isinstance(row, dict):
        return row._replace(image_id=f"{prefix}{row.image_id}")
    return row | {name: f"{prefix}{row[name]}" for name in _IDS if name in row}


def _write_rows(job, pictures, parts: list) -> None:
    """Write what is known of the pictures that can be used."""
    from contextlib import ExitStack

    from pipeline.spill import Spill
    from sources.part import Fault, text_fault
    from structures.progress import progress

    with ExitStack() as stack:
        tables = ("captions", "annotations", "labels", "judged")
        captions, annotations, labels, judged = (stack.enter_context(Spill(job, table)) for table in tables)

        def note(spill: Spill, row, prefix: str = "") -> None:
            if prefix:
                row = _prefixed(row, prefix)
            fault = row if isinstance(row, Fault) else text_fault(row)
            if fault:
                job.reject(*fault)
            elif (shard := pictures.shard(row["image_id"])) is not None:
                spill.add(shard, row)

        for part in parts:
            rows, prefix = part.rows, part.prefix
            for row in progress(rows.captions, description=f"captions of {part.label}", unit="caption"):
                note(captions, row, prefix)
            for row in progress(rows.labels or (), description=f"labels of {part.label}", unit="label"):
                note(labels, row, prefix)
            for image_id in () if part.exhaustive else pictures.of_part(part.number):
                note(judged, {"image_id": image_id, "category": "", "present": False, "exhaustive": True})
            for row in rows.judged or ():
                note(judged, row, prefix)
            outlined = rows.annotations(lambda image_id, prefix=prefix: pictures.size(f"{prefix}{image_id}"))
            for row in progress(outlined, description=f"annotations of {part.label}", unit="object"):
                note(annotations, row, prefix)
                if rows.labels is None and not isinstance(row, Fault):
                    note(labels, {key: row[key] for key in ("image_id", "category")}, prefix)
                if not part.exhaustive and not isinstance(row, Fault):
                    seen = {key: row[key] for key in ("image_id", "category")}
                    note(judged, seen | {"present": True, "exhaustive": True}, prefix)
        for spill in (captions, annotations, labels, judged):
            spill.write(unique=spill in (labels, judged))


if __name__ == "__main__":
    STAGE.main(run)
