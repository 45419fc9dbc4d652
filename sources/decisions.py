"""Readers of what people decided about labels: a table, Label Studio's JSON export, COCO JSON as CVAT exports it.

A table has a row a label: image_id, category, instance, decision, and what the decision needs.

    decision   keep, drop, category (needs new_category), mask (needs segmentation), box (needs box)
    segmentation, box   COCO RLE or polygons; x0, y0, x1, y1 in pixels; both as JSON in a file of text
    by, label   optional: who decided; the label's id, so that a label made anew since is not taken for it
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sources.coco import MAX_SIDE
from sources.json_files import read_json, text_id, whole_number
from sources.part import SourceError
from sources.tables import read_table
from structures.brush import decode_brush
from structures.json_texts import parse_json
from structures.masks import decode, encode, read_segmentation

ACTIONS = ("keep", "drop", "category", "mask", "box")
_NEEDS = {"category": "new_category", "mask": "segmentation", "box": "box"}
_REMEDY = "point the config key review.decisions at what people decided"
_MOST_TOLD = 20  # faults
_POLYGON, _BRUSH = "polygonlabels", "brushlabels"


@dataclass(frozen=True)
class Decision:
    """What a person decided about a label, or a label that a person drew.

    where: its row, for messages; by: who decided; label: the label's id, or key: (image_id, category, instance); one of
    them is not empty, or, of what was drawn, image_id is not.
    action: keep, drop, category, box, mask, add; seen: it came back with this category and outline, which may be what they
    were.
    segmentation: polygons or RLE as COCO has them; box: xyxy in pixels.
    """

    where: str
    by: str
    action: str
    label: str = ""
    key: tuple[str, str, int] | None = None
    image_id: str = ""
    category: str = ""
    segmentation: dict | list | None = None
    box: tuple[float, float, float, float] | None = None


def read_decisions(file: Path, reviewer: str, handed_out: Path | None = None) -> list[Decision]:
    """reviewer: who decided, where the file does not say. handed_out: of COCO JSON, the file that people were given.

    Raises SourceError naming the file and its rows where one is not what it should be, none of which counts then.
    """
    faults: list[str] = []
    decisions = list(_decisions(file, reviewer, handed_out, faults))
    if faults:
        more = f"; and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
        raise SourceError(f"{file}: {'; '.join(faults[:_MOST_TOLD])}{more}")
    return decisions


def _decisions(file: Path, reviewer: str, handed_out: Path | None, faults: list[str]) -> Iterator[Decision]:
    if file.suffix.lower() != ".json":
        yield from _of_table(file, reviewer, faults)
        return
    content = read_json(file, _REMEDY)
    if isinstance(content, list):
        yield from _of_label_studio(content, faults)
    elif isinstance(content, dict) and isinstance(content.get("annotations"), list):
        given = read_json(handed_out, "point the config key review.handed_out at it") if handed_out else None
        yield from _of_coco(content, reviewer, given, faults)
    else:
        raise SourceError(f"{file} is neither Label Studio's JSON (a list of tasks) nor COCO's (with annotations)")


# A table


def _of_table(file: Path, reviewer: str, faults: list[str]) -> Iterator[Decision]:
    table = read_table(file)
    missing = [name for name in ("image_id", "category", "instance", "decision") if name not in table.columns]
    if missing:
        raise SourceError(f"{file} has no column {', '.join(missing)}")
    for where, row in table.rows():
        try:
            yield _of_row(where, row, reviewer)
        except ValueError as error:
            faults.append(f"{where}: {error}")


def _of_row(where: str, row: dict | str, reviewer: str) -> Decision:
    if isinstance(row, str):
        raise ValueError(row)
    action = row["decision"]
    if action not in ACTIONS:
        raise ValueError(f"decision is {action!r}, wanted one of {', '.join(ACTIONS)}")
    needed = _NEEDS.get(action)
    if needed and row.get(needed) in (None, "", []):
        raise ValueError(f"the decision {action} needs a {needed}")
    key = (
        text_id(row["image_id"]),
        _text(row["category"], "category"),
        whole_number(row["instance"], "instance", 0, 2**31),
    )
    own = {"by": _text(row.get("by") or reviewer, "by"), "action": action}
    if action == "category":
        own["category"] = _text(row["new_category"], "new_category")
    if action == "mask":
        own["segmentation"] = _parsed(row["segmentation"])
    if action == "box":
        own["box"] = _box(_parsed(row["box"]))
    return Decision(where, key=key, label=_text(row.get("label") or "", "label"), **own)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, wanted a text")
    return value


def _parsed(value: object) -> object:
    return parse_json(value) if isinstance(value, str) else value


def _box(value: object) -> tuple[float, float, float, float]:
    numbers = value if isinstance(value, list | tuple) else ()
    if len(numbers) != 4 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        raise ValueError(f"box is {value!r}, wanted x0, y0, x1, y1")
    return tuple(float(v) for v in numbers)


# Label Studio


def _of_label_studio(tasks: list, faults: list[str]) -> Iterator[Decision]:
    for place, task in enumerate(tasks):
        number = task.get("id", place) if isinstance(task, dict) else place
        try:
            yield from _of_task(f"task {number}", task)
        except ValueError as error:
            faults.append(f"task {number}: {error}")


def _of_task(where: str, task: object) -> list[Decision]:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("labels"), list) or "image_id" not in data:
        raise ValueError(
            "its data name no labels of ours (data.labels, data.image_id): is it another project's file, or exported as "
            "JSON-MIN? wanted is the export JSON of tasks that the export wrote"
        )
    given = {_text(label, "data.labels"): [] for label in data["labels"]}
    annotations = [row for row in _list(task, "annotations") if isinstance(row, dict) and not row.get("was_cancelled")]
    if not annotations:
        return []  # nobody looked
    if len(annotations) > 1:
        people = ", ".join(_person(row) for row in annotations)
        raise ValueError(f"{len(annotations)} annotations ({people}): keep one in Label Studio, and export again")
    [annotation] = annotations
    by, image_id = _person(annotation), text_id(data["image_id"])
    drawn: dict[str, list[dict]] = {}
    for region in _list(annotation, "result"):
        if not isinstance(region, dict) or region.get("type") not in (_BRUSH, _POLYGON):
            kind = region.get("type") if isinstance(region, dict) else region
            raise ValueError(f"a region of type {kind!r}: outline with a brush or polygons")
        region_id = str(region.get("id", ""))
        label = region_id.partition(".")[0]
        (given[label] if label in given else drawn.setdefault(region_id, [])).append(region)
    decisions = []
    for label, regions in given.items():
        if not regions:
            decisions.append(Decision(f"{where}, label {label}", by, "drop", label=label))
        else:
            category, segmentation = _outline(regions)
            own = {"category": category, "segmentation": segmentation}
            decisions.append(Decision(f"{where}, label {label}", by, "seen", label=label, **own))
    for region_id, regions in drawn.items():
        category, segmentation = _outline(regions)
        own = {"category": category, "segmentation": segmentation}
        decisions.append(Decision(f"{where}, region {region_id}", by, "add", image_id=image_id, **own))
    return decisions


def _person(annotation: dict) -> str:
    person = annotation.get("completed_by", "")
    if isinstance(person, dict):
        person = person.get("email") or person.get("id", "")
    return str(person) if isinstance(person, str) and person else f"Label Studio's user {person}"


def _list(row: dict, name: str) -> list:
    if not isinstance(row.get(name), list):
        raise ValueError(f"no list {name}")
    return row[name]


def _outline(regions: list[dict]) -> tuple[str, dict]:
    """The category and the RLE of the regions that are one label."""
    categories, masks = set(), []
    for region in regions:
        value = region.get("value")
        names = value.get(region["type"]) if isinstance(value, dict) else None
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            raise ValueError(f"region {region.get('id')}: one category, not {names!r}")
        categories.add(names[0])
        width, height = (
            whole_number(region.get(f"original_{side}"), f"original_{side}", 1, MAX_SIDE)
            for side in ("width", "height")
        )
        if region.get("image_rotation", 0) != 0:
            raise ValueError(f"region {region.get('id')}: the picture was rotated; turn it back")
        masks.append(_mask(region["type"], value, height, width))
    if len(categories) > 1 or len({mask.shape for mask in masks}) > 1:
        raise ValueError(f"parts of one label are {' and '.join(sorted(categories))}, or of several sizes")
    whole = masks[0]
    for mask in masks[1:]:
        whole = whole | mask
    return categories.pop(), encode(whole)


def _mask(kind: str, value: dict, height: int, width: int):
    if kind == _BRUSH:
        return decode_brush(value.get("rle"), height, width)
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError("points are a list of pairs")
    numbers = [v for p in points for v in p]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        raise ValueError("points are a list of pairs of numbers")
    flat = [v / 100 * side for v, side in zip(numbers, (width, height) * len(points))]
    return decode(read_segmentation([flat], height, width))


# COCO, as CVAT exports it


def _of_coco(content: dict, reviewer: str, given: object, faults: list[str]) -> Iterator[Decision]:
    names = {row.get("id"): row.get("name") for row in content.get("categories", ()) if isinstance(row, dict)}
    images = {row.get("id"): row for row in content.get("images", ()) if isinstance(row, dict)}
    originals = _originals(given)
    seen: set[str] = set()
    for place, row in enumerate(content["annotations"]):
        where = f"annotations[{place}]"
        try:
            decision = _of_annotation(where, row, names, images, originals, reviewer)
            seen.add(decision.label)
            yield decision
        except ValueError as error:
            faults.append(f"{where}: {error}")
    for place, row in enumerate(given.get("annotations", ()) if isinstance(given, dict) else ()):
        label = _label_of(row) if isinstance(row, dict) else ""
        if label and label not in seen:
            yield Decision(f"handed_out, annotations[{place}]", reviewer, "drop", label=label)


def _of_annotation(
    where: str, row: object, names: dict, images: dict, originals: dict[str, str], reviewer: str
) -> Decision:
    if not isinstance(row, dict):
        raise ValueError(f"{str(row)[:40]!r} is no annotation")
    category, image = names.get(row.get("category_id")), images.get(row.get("image_id"))
    if not isinstance(category, str) or image is None:
        raise ValueError("its category_id or image_id is not listed")
    height, width = (whole_number(image.get(side), side, 1, MAX_SIDE) for side in ("height", "width"))
    label, own = _label_of(row), {"category": category}
    if row.get("segmentation") not in (None, []):
        own["segmentation"] = read_segmentation(row["segmentation"], height, width)
    else:
        x, y, across, down = _box(row.get("bbox"))
        own["box"] = (x, y, x + across, y + down)
    if label:
        return Decision(where, reviewer, "seen", label=label, **own)
    if "segmentation" not in own:
        raise ValueError("a new label that is a box alone; outline it")
    image_id = image.get("original_id") or originals.get(str(image.get("file_name")), "")
    if not image_id:
        raise ValueError(f"a new label in {image.get('file_name')!r}: point review.handed_out at what was imported")
    return Decision(where, reviewer, "add", image_id=image_id, **own)


def _label_of(row: dict) -> str:
    """The label's id that an annotation carries; empty for one that is new."""
    attributes = row.get("attributes")
    label = attributes.get("label") if isinstance(attributes, dict) else None
    return str(label or row.get("label") or "")


def _originals(given: object) -> dict[str, str]:
    rows = given.get("images", ()) if isinstance(given, dict) else ()
    return {
        str(row["file_name"]): str(row["original_id"]) for row in rows if {"file_name", "original_id"} <= row.keys()
    }
