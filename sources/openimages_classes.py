"""The classes of Open Images: their names, and the hierarchy in which a cat is an animal."""

import json
from pathlib import Path

import pandas as pd

from sources.part import SourceError


def class_names(file: Path) -> dict[str, str]:
    """{LabelName: DisplayName} of a class-descriptions CSV without header. Raises SourceError naming the file."""
    try:
        frame = pd.read_csv(file, header=None, names=["label", "name"], dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{file}: {error}; the classes are class-descriptions-boxable.csv, or "
            "challenge-2019-classes-description-segmentable.csv for the challenge's 300"
        ) from error
    return {label: name for label, name in zip(frame.label, frame.name) if label != "LabelName"}


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
        walk(json.loads(file.read_text(encoding="utf-8")), ())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{file} is no class hierarchy: {error!r}; wanted JSON with LabelName and Subcategory, nested"
        ) from error
    if not ancestors:
        raise SourceError(f"{file} has none of the classes of {classes}: name the two files of one data set")
    return {name: tuple(sorted(found - {name})) for name, found in sorted(ancestors.items()) if found - {name}}
