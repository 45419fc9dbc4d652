"""Reader of Objects365 v2 (Shao et al., 2019): COCO's JSON with boxes, and no outlines, of 365 categories in every picture.

Fake objects (drawn, or of clay) and reflected ones are objects, as published.
"""

from pathlib import Path, PurePosixPath

from sources.coco import CocoData, load, part_of, read_annotations, read_images
from sources.part import Part, SourceError


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.instances: zhiyuan_objv2_train.json or zhiyuan_objv2_val.json; part.images: the folder of patch0, patch1 …, as the
    archives unpack, or of images/v1/patch0 …, as the JSON names them.

    Annotations have boxes alone. There are no captions: labels are the annotations' categories. Raises SourceError.
    """
    if not part.instances:
        raise SourceError(f"{root / part.images}: instances is not set for this folder; name Objects365's JSON there")
    file, data = root / part.instances, CocoData()
    content = load(file, ("images", "annotations", "categories"))
    if not (root / part.images / "images").is_dir():
        for row in content["images"]:
            if isinstance(row, dict) and isinstance(row.get("file_name"), str):
                row["file_name"] = _in_patch(row["file_name"])
    read_images({file: content}, part.images, data)
    read_annotations(file, content, data, outlined=False)
    return part_of(data)


def _in_patch(name: str) -> str:
    """images/v1/patch8/x.jpg as patch8/x.jpg."""
    parts = PurePosixPath(name).parts
    return "/".join(parts[-2:]) if len(parts) > 2 and parts[-2].startswith("patch") else name
