"""The classes of Open Images: their names, and the hierarchy in which a cat is an animal."""

from pathlib import Path

from sources.json_files import read_json
from sources.part import SourceError
from sources.tables import csv_rows

_USUAL = "class-descriptions-boxable.csv, or challenge-2019-classes-description-segmentable.csv for the challenge's 300"


def class_names(file: Path) -> dict[str, str]:
    """{LabelName: DisplayName} of a class-descriptions CSV without header. Raises SourceError naming the file."""
    names: dict[str, str] = {}
    for where, cells in csv_rows(file, ",", f"the classes are {_USUAL}"):
        if isinstance(cells, str) or len(cells) != 2 or not all(cells):
            raise SourceError(
                f"{file}, {where}: {cells}, wanted two cells, a label and its name; the classes are {_USUAL}"
            )
        label, name = cells
        if names.setdefault(label, name) != name:
            raise SourceError(f"{file}, {where}: {label} is {names[label]!r} before, and {name!r} here")
    names.pop("LabelName", None)
    if not names:
        raise SourceError(f"{file} names no class")
    return names


def read_hierarchy(file: Path, classes: Path) -> dict[str, tuple[str, ...]]:
    """{name: its ancestors' names} of the classes that have any, from a hierarchy's JSON (LabelName, Subcategory, nested:
    bbox_labels_600_hierarchy.json, challenge-2019-label300-segmentable-hierarchy.json).

    classes: the CSV of class_names; what it does not name (the root, "Entity") is passed over, not what is below. Parts
    ("Part") are no kinds. A class that stands at several places has the ancestors of all. Raises SourceError.
    """
    names = class_names(classes)
    ancestors: dict[str, set[str]] = {}

    def walk(node: dict, above: tuple[str, ...]) -> None:
        name = names.get(node["LabelName"])
        if name is not None:
            ancestors.setdefault(name, set()).update(above)
            above = (*above, name)
        for child in node.get("Subcategory", ()):
            walk(child, above)

    try:
        walk(read_json(file, "name the hierarchy of the data set"), ())
    except SourceError as error:
        raise SourceError(f"{file} is no class hierarchy: {error}") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"{file} is no class hierarchy: {error!r}; wanted JSON with LabelName and Subcategory, nested"
        ) from error
    if not ancestors:
        raise SourceError(f"{file} has none of the classes of {classes}: name the two files of one data set")
    return {name: tuple(sorted(found - {name})) for name, found in sorted(ancestors.items()) if found - {name}}
