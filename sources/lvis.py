"""Reader of LVIS v1 (Gupta et al., 2019): COCO's pictures and JSON, and what each picture was and was not looked through for.

A federated data set: of a picture those categories were judged that are annotated in it, that are known to be absent
(neg_category_ids), and that are there, but not all of whose objects are annotated (not_exhaustive_category_ids).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sources.coco import CocoData, load, member, part_of, read_annotations, read_captions, read_images
from sources.json_files import text_id
from sources.lvis_categories import category_name
from sources.part import Fault, Part, SourceError

_BELOW_HOST = re.compile(r"^https?://[^/]*/*")


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.instances: lvis_v1_train.json or lvis_v1_val.json; part.images: the folder of train2017 and val2017, to which the
    addresses of pictures lead (coco_url; a file_name counts where there is one); part.captions: COCO's captions_train2017.json,
    of which those of other pictures are passed over.

    Categories are named in words: "bow_(weapon)" is "bow (weapon)". A list that names no category, or one category as absent
    and as there, is a fault. Raises SourceError.
    """
    if not part.instances:
        raise SourceError(f"{root / part.images}: instances is not set for this folder; name LVIS' JSON there")
    file, data = root / part.instances, CocoData()
    content = load(file, ("images", "annotations", "categories"))
    for row in content["categories"]:
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            row["name"] = category_name(row["name"])
    for row in content["images"]:
        if isinstance(row, dict) and not row.get("file_name") and isinstance(row.get("coco_url"), str):
            row["file_name"] = _BELOW_HOST.sub("", row["coco_url"])
    read_images({file: content}, part.images, data)
    if part.captions:
        captions = load(root / part.captions, ("annotations",))["annotations"]
        read_captions(root / part.captions, [row for row in captions if _is_of(row, data.images)], data)
    read_annotations(file, content, data)
    result = part_of(data)
    result.judged = _judged(file, content, data)
    return result


def _is_of(row: object, images: dict) -> bool:
    """Whether a caption is of an image that was read, or of none, as far as its row tells."""
    try:
        return text_id(member(row, "image_id")) in images
    except ValueError:
        return True


def _judged(file: Path, content: dict, data: CocoData) -> Iterator[dict | Fault]:
    """What each picture's lists say; what is annotated in it was judged in any case."""
    names = {text_id(row["id"]): row["name"] for row in content["categories"]}
    there: dict[str, set[str]] = {}
    for row in data.annotations:
        there.setdefault(row["image_id"], set()).add(row["category"])
    for i, row in enumerate(content["images"]):
        image_id = _image_id(row)
        if image_id not in data.images:
            continue  # a fault of its own
        listed: dict[str, list[str]] = {}
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            listed[key], faults = _categories(row, key, names)
            for detail in faults:
                yield Fault(image_id, "bad_judgement", f"{file}, images[{i}], {key}: {detail}", key)
        present = there.get(image_id, set()) | set(listed["not_exhaustive_category_ids"])
        for category in listed["neg_category_ids"]:
            if category in present:
                detail = (
                    f"{file}, images[{i}]: {category} is in neg_category_ids, but annotated, or not exhaustively so"
                )
                yield Fault(image_id, "bad_judgement", detail, category)
            else:
                yield {"image_id": image_id, "category": category, "present": False, "exhaustive": True}
        for category in listed["not_exhaustive_category_ids"]:
            yield {"image_id": image_id, "category": category, "present": True, "exhaustive": False}


def _image_id(row: object) -> str:
    try:
        return text_id(member(row, "id"))
    except ValueError:
        return ""


def _categories(row: dict, key: str, names: dict[str, str]) -> tuple[list[str], list[str]]:
    """The categories that a picture's list names, and what is wrong with it."""
    ids = row.get(key)
    if not isinstance(ids, list):
        return [], [f"it is {str(ids)[:60]}, wanted a list of categories' ids"]
    found, faults = {}, []
    for value in ids:
        try:
            found[names[text_id(value)]] = None
        except ValueError as error:
            faults.append(str(error))
        except KeyError:
            faults.append(f"no category has the id {value!r}")
    return list(found), faults
