"""Reader of data sets in COCO's format: pictures, instances_*.json and captions_*.json (Lin et al., 2014).

Yields plain rows of the tables `images` (without what only the pictures tell), `captions`, `annotations`, and faults.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pycocotools import mask as coco_mask

from sources.json_files import read_json, real_number, text_id, whole_number
from sources.part import Fault, Part, SourceError
from structures.boxes import read_box
from structures.masks import read_segmentation

MAX_SIDE = 65_535  # pixels of a picture's side, as of JPEG; the pixels of its mask are counted in 32 bits


@dataclass
class CocoData:
    """images: {image_id: (path relative to root, width, height)}; captions: (image_id, caption_id, text);
    annotations: rows of the table; categories: their names, also of those that none is of; faults: (image_id, reason, detail, key)."""

    images: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    captions: list[tuple[str, str, str]] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    faults: list[tuple[str, str, str, str]] = field(default_factory=list)
    categories: tuple[str, ...] = ()


def load(path: Path, keys: tuple[str, ...]) -> dict:
    """The content of a JSON file that holds these lists. Raises SourceError."""
    content = read_json(path, "set the ingest section of the config to the data set's files")
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise SourceError(f"{path} has no list {', '.join(missing)}: is it a COCO file of that kind?")
    return content


def read_coco(root: Path, images: str, instances: str = "", captions: str = "") -> CocoData:
    """One part of a COCO data set, such as train2017.

    root: the data set's folder; images: its folder of pictures; instances, captions: JSON files, "" for none (one of
    the two is needed, for the list of pictures). Faults are: a row that lacks something, or holds something else than the
    format says; a caption or annotation of an absent image; an empty caption; an annotation that can't be a mask or a box
    of its picture; images with one id and two files or sizes. A caption or an annotation without an id, or with one that
    stood before, gets one by its place: "row 12". Raises SourceError.
    """
    data = CocoData()
    files = {}
    if instances:
        files[root / instances] = load(root / instances, ("images", "annotations", "categories"))
    if captions:
        files[root / captions] = load(root / captions, ("images", "annotations"))
    if not files:
        raise SourceError(f"{root / images}: neither instances nor captions are set for this folder")
    read_images(files, images, data)
    if captions:
        read_captions(root / captions, files[root / captions]["annotations"], data)
    if instances:
        read_annotations(root / instances, files[root / instances], data)
    return data


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images, part.instances, part.captions as read_coco takes them. Raises SourceError."""
    return part_of(read_coco(root, part.images, part.instances, part.captions))


def part_of(data: CocoData) -> Part:
    """What was read, as every reader hands it over; every category was judged in every picture."""
    counts = Counter(row["category"] for row in data.annotations if not row["iscrowd"])
    captions = [dict(zip(("image_id", "caption_id", "text"), row)) for row in data.captions]
    faults = [Fault(*fault) for fault in data.faults]
    return Part(
        data.images, captions, None, lambda size_of: data.annotations, faults, counts, categories=data.categories
    )


def read_images(files: dict[Path, dict], folder: str, data: CocoData) -> None:
    """The images that JSON files list; folder: what file names start from, relative to the data set's folder."""
    conflicting = {}
    for file, content in files.items():
        for i, row in enumerate(content["images"]):
            image_id = ""
            try:
                image_id = text_id(member(row, "id"))
                name = member(row, "file_name")
                if not isinstance(name, str) or not name:
                    raise ValueError(f"file_name is {name!r}, wanted a text")
                path = str(PurePosixPath(folder) / name)
                size = (whole_number(member(row, side), side, 1, MAX_SIDE) for side in ("width", "height"))
                entry = (path, *size)
            except ValueError as error:
                data.faults.append((image_id, "bad_row", f"{file}, images[{i}]: {error}", ""))
                continue
            before = data.images.setdefault(image_id, entry)
            if before != entry:
                conflicting[image_id] = f"{file}, images[{i}]: the id {image_id} is of {before} and of {entry}"
    for image_id, detail in conflicting.items():
        del data.images[image_id]
        data.faults.append((image_id, "repeated_id", detail, ""))


def read_captions(file: Path, rows: list, data: CocoData) -> None:
    """The captions among a file's annotations, of the images that were read."""
    for (i, row), caption_id in zip(enumerate(rows), _unique_ids(rows)):
        image_id = ""
        try:
            image_id, text = text_id(member(row, "image_id")), member(row, "caption")
            if text is not None and not isinstance(text, str):
                raise ValueError(f"caption is {text!r}, wanted a text")
        except ValueError as error:
            data.faults.append((image_id, "bad_row", f"{file}, annotations[{i}]: {error}", caption_id))
            continue
        if image_id not in data.images:
            detail = f"caption {caption_id} is of an image not listed"
            data.faults.append((image_id, "absent_image", detail, caption_id))
        elif not (text or "").strip():
            data.faults.append((image_id, "empty_caption", f"caption {caption_id} has no words", caption_id))
        else:
            data.captions.append((image_id, caption_id, text.strip()))


def read_annotations(file: Path, content: dict, data: CocoData, outlined: bool = True) -> None:
    """The annotations of a file, of the images that were read. outlined: whether each has a segmentation, which is null
    otherwise."""
    names = category_names(file, content["categories"])
    data.categories = tuple(names.values())
    rows = content["annotations"]
    for (i, row), annotation_id in zip(enumerate(rows), _unique_ids(rows)):
        image_id = ""
        try:
            image_id = text_id(member(row, "image_id"))
            if image_id not in data.images:
                detail = f"annotation {annotation_id} is of an image not listed"
                data.faults.append((image_id, "absent_image", detail, annotation_id))
                continue
            _, width, height = data.images[image_id]
            category = names.get(text_id(member(row, "category_id")))
            if category is None:
                raise ValueError(f"category_id is {row['category_id']!r}, which is not listed")
            area = real_number(member(row, "area"), "area", MAX_SIDE**2)
            if area < 0:
                raise ValueError(f"area is {area}, wanted at least 0")
            bbox = read_box(member(row, "bbox"), height, width)
            segmentation = read_segmentation(member(row, "segmentation"), height, width) if outlined else None
            if segmentation and _apart(segmentation, bbox):
                raise ValueError(f"the outline lies outside of its bbox {bbox}")
            data.annotations.append(
                {
                    "image_id": image_id,
                    "annotation_id": annotation_id,
                    "category": category,
                    "bbox": bbox,
                    "segmentation": segmentation,
                    "area": area,
                    "iscrowd": bool(whole_number(row.get("iscrowd", 0), "iscrowd", 0, 1)),
                }
            )
        except ValueError as error:
            detail = f"{file}, annotations[{i}], id {annotation_id}: {error}"
            data.faults.append((image_id, "bad_annotation", detail, annotation_id))


def _apart(segmentation: dict, bbox: list[float]) -> bool:
    """Whether a mask has pixels, and its own box (xywh) lies a pixel or more away from the box that is given."""
    x, y, width, height = coco_mask.toBbox(segmentation).tolist()
    left, top, across, down = bbox
    apart = x > left + across + 1 or left > x + width + 1 or y > top + down + 1 or top > y + height + 1
    return apart and width > 0


def category_names(file: Path, rows: list) -> dict[str, str]:
    """{category id: name}. Raises SourceError: every annotation depends on it."""
    names: dict[str, str] = {}
    for i, row in enumerate(rows):
        try:
            category_id, name = text_id(member(row, "id")), member(row, "name")
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"name is {name!r}, wanted a text")
            if category_id in names:
                raise ValueError(
                    f"the id {category_id} is of {names[category_id]!r} and of {name!r}; give each its own"
                )
            if name in names.values():
                raise ValueError(f"the name {name!r} stands twice; give both rows one id, or two names")
        except ValueError as error:
            raise SourceError(f"{file}, categories[{i}]: {error}") from error
        names[category_id] = name
    return names


def member(row: object, key: str) -> object:
    """row[key]. Raises ValueError where row is no object or lacks it."""
    if not isinstance(row, dict):
        raise ValueError(f"{str(row)[:40]!r} stands where an object with {key} should")
    if key not in row:
        raise ValueError(f"{key} is not there")
    return row[key]


def _unique_ids(rows: list) -> Iterator[str]:
    """The ids of rows, in order; a row without one, or whose id stood before, gets one by its place."""
    given = [_own_id(row) for row in rows]
    taken, seen = set(given), set()
    for i, own in enumerate(given):
        if own == "" or own in seen:
            own = f"row {i}"
            while own in taken:
                own += "'"
        seen.add(own)
        yield own


def _own_id(row: object) -> str:
    try:
        return text_id(row.get("id")) if isinstance(row, dict) else ""
    except ValueError:
        return ""
