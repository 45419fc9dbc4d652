"""Reader of Open Images (Kuznetsova et al., 2020): class names, image-level labels, boxes, and masks as CSV and PNG.

The CSV files have millions of rows, which are handed on as they come.
"""

from collections import Counter, namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from operator import itemgetter
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from sources.images import ImageError, decode_mask
from sources.openimages_classes import class_names
from sources.part import Fault, Listed, Part, SourceError
from sources.tables import csv_table, json_rows
from structures.masks import encode

BLOCK = 10_000  # masks that wait for a thread
_MASKS = ("MaskPath", "ImageID", "LabelName", "BoxID", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")
_BOXES = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")
_LABELS = ("ImageID", "LabelName", "Confidence")
_TEXT = {"MaskPath", "ImageID", "LabelName", "BoxID"}


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.classes: class-descriptions CSV (LabelName, DisplayName; no header), of which alone anything is read;
    part.labels: image-level labels: Confidence 1, somebody verified that the class is there, 0, that it is not; both
    were judged, and no other class of the picture was (without part.labels all were); part.instances: the CSV of masks, its PNG files below the folder part.masks,
    flat or in folders by their first character as the archives are divided; part.boxes: the CSV of boxes, whose
    groups (IsGroupOf) are crowds; part.images: the folder of <ImageID>.jpg. Captions stand in part.captions, if any,
    as JSON lines of Localized Narratives (image_id, caption).

    The images are those that the labels or the masks name. Raises SourceError naming a file or a column, also while rows are
    read.
    """
    names = class_names(root / part.classes)
    counts: Counter[str] = Counter()
    return Part(
        _pictures(root, part, names, counts),
        _narratives(root / part.captions) if part.captions else (),
        _labels(root / part.labels, names) if part.labels else None,
        lambda size_of: _annotations(root, part, names, set(counts), size_of, threads),
        counts=counts,
        judged=_judged(root / part.labels, names) if part.labels else (),
    )


def _pictures(root: Path, part, names: dict[str, str], counts: Counter) -> Iterator[Listed]:
    """Those that the labels or the masks name; counts: of the masks of each class, which are counted here."""

    def named() -> Iterator[str]:
        if part.labels:
            yield from (row.ImageID for row in _rows(root / part.labels, _LABELS) if _is_present(row))
        if part.instances:
            for row in _rows(root / part.instances, _MASKS):
                if not isinstance(row, Fault):
                    counts.update([names[row.LabelName]] if row.LabelName in names else ())
                    yield row.ImageID

    last = None
    for image_id in named():
        if image_id != last:
            last = image_id
            yield image_id, (str(PurePosixPath(part.images) / f"{image_id}.jpg"), None, None)
    if last is None:
        raise SourceError(f"{root}: neither ingest's labels nor its instances name an image")


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple | Fault]:
    """Each row of a CSV file: its cells of the columns as a named tuple, texts and numbers, or a fault."""
    table = csv_table(file)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise SourceError(f"{file} has no column {', '.join(missing)}; wanted are {', '.join(columns)}")
    row_of, cells_of = namedtuple("Row", columns)._make, itemgetter(*columns)
    readers = [_text if name in _TEXT else _number for name in columns]
    for where, cells in table.rows():
        image_id, row = "", cells
        if isinstance(cells, dict):
            image_id = cells["ImageID"].strip()
            try:
                row = row_of(read(cell) for read, cell in zip(readers, cells_of(cells)))
            except ValueError:
                row = f"a cell is empty or no number: {', '.join(cells_of(cells))}"
        yield Fault(image_id, "bad_row", f"{file}, {where}: {row}") if isinstance(row, str) else row


def _text(cell: str) -> str:
    """Raises ValueError for an empty cell."""
    if not (text := cell.strip()):
        raise ValueError
    return text


def _number(cell: str) -> float:
    """Raises ValueError for a cell that is no number."""
    if (number := float(cell)) != number:
        raise ValueError
    return number


def _is_present(row: tuple | Fault) -> bool:
    return not isinstance(row, Fault) and row.Confidence >= 1


def _labels(file: Path, names: dict[str, str]) -> Iterator[dict | Fault]:
    for row in _rows(file, _LABELS):
        if isinstance(row, Fault):
            yield row
        elif _is_present(row) and row.LabelName in names:
            yield {"image_id": row.ImageID, "category": names[row.LabelName]}


def _judged(file: Path, names: dict[str, str]) -> Iterator[dict]:
    for row in _rows(file, _LABELS):
        if not isinstance(row, Fault) and (_is_present(row) or row.Confidence == 0) and row.LabelName in names:
            judged = {"image_id": row.ImageID, "category": names[row.LabelName], "present": _is_present(row)}
            yield judged | {"exhaustive": True}


def _narratives(file: Path) -> Iterator[dict | Fault]:
    for number, (where, row) in enumerate(json_rows(file)):
        image_id, caption_id, fault = "", f"ln_{number}", row
        if isinstance(row, dict):
            image_id, text = str(row.get("image_id", "")), row.get("caption")
            fault = "" if image_id and isinstance(text, str) and text.strip() else "wanted image_id and a caption"
        if fault:
            yield Fault(image_id, "bad_row", f"{file}, {where}: {fault}", caption_id)
        else:
            yield {"image_id": image_id, "caption_id": caption_id, "text": text.strip()}


def _annotations(
    root: Path, part, names: dict, outlined: set, size_of: Callable, threads: int
) -> Iterator[dict | Fault]:
    if part.instances:
        masks = _Masks(root / part.masks)
        with ThreadPoolExecutor(threads) as pool:
            rows = _rows(root / part.instances, _MASKS)
            named = (row for row in rows if isinstance(row, Fault) or row.LabelName in names)
            while block := list(islice(named, BLOCK)):
                yield from (row for row in block if isinstance(row, Fault))
                known = (row for row in block if not isinstance(row, Fault))
                sized = ((row, size) for row in known if (size := size_of(row.ImageID)))
                yield from pool.map(lambda pair: _outlined(masks, *pair, names), sized)
    if part.boxes:
        for row in _rows(root / part.boxes, _BOXES):
            if isinstance(row, Fault):
                yield row
            elif row.IsGroupOf == 1 and names.get(row.LabelName) in outlined and (size := size_of(row.ImageID)):
                box = _box(row.XMin, row.XMax, row.YMin, row.YMax, size)
                if isinstance(box, str):
                    yield Fault(row.ImageID, "bad_box", f"{root / part.boxes}: {box}", row.LabelName)
                    continue
                x, y, w, h = box
                mask = np.zeros(size, np.uint8)
                mask[round(y) : round(y + h), round(x) : round(x + w)] = 1
                key = f"{row.ImageID}_{row.LabelName}_{row.XMin:.6f}_{row.YMin:.6f}_{row.XMax:.6f}_{row.YMax:.6f}"
                yield _row(row.ImageID, key, names[row.LabelName], box, mask, True)


class _Masks:
    """The folder of mask files: flat, or with one folder for each first character of the names."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise SourceError(f"{folder} is not there; set ingest's masks to the folder of mask pictures")
        self.folder = folder
        self._below: dict[str, list[Path]] = {}
        for place in sorted(item for item in folder.iterdir() if item.is_dir()):
            self._below.setdefault(place.name[-1].lower(), []).append(place)

    def find(self, name: str) -> Path | None:
        """A mask's file; its name can't lead out of the folder."""
        if PurePosixPath(name).name != name:
            return None
        places = [self.folder, *self._below.get(name[0].lower(), ())]
        try:
            return next((place / name for place in places if (place / name).is_file()), None)
        except OSError:  # a name that is too long
            return None


def _outlined(masks: _Masks, row, size: tuple[int, int], names: dict[str, str]) -> dict | Fault:
    """One object: its PNG enlarged to its picture, as RLE."""
    file = masks.find(row.MaskPath)
    if file is None:
        return Fault(row.ImageID, "missing_mask", f"{masks.folder / row.MaskPath} is not there", row.BoxID)
    try:
        mask = decode_mask(file)
    except ImageError as error:
        return Fault(row.ImageID, "broken_mask", f"{error}; unpack it again", row.BoxID)
    mask = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    if not mask.any():
        return Fault(row.ImageID, "empty_mask", f"{file} holds no object", row.BoxID)
    box = _box(row.BoxXMin, row.BoxXMax, row.BoxYMin, row.BoxYMax, size)
    if isinstance(box, str):
        return Fault(row.ImageID, "bad_box", box, row.BoxID)
    return _row(row.ImageID, row.MaskPath.removesuffix(".png"), names[row.LabelName], box, mask, False)


def _box(x0: float, x1: float, y0: float, y1: float, size: tuple[int, int]) -> list[float] | str:
    """xywh in pixels, of shares of the picture; or what is wrong with them."""
    if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):
        return f"a box from {x0}, {y0} to {x1}, {y1} is none in shares of a picture"
    height, width = size
    return [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height]


def _row(image_id: str, key: str, category: str, box: list[float], mask: np.ndarray, crowd: bool) -> dict:
    return {
        "image_id": image_id,
        "annotation_id": key,
        "category": category,
        "bbox": box,
        "segmentation": encode(mask),
        "area": float(mask.sum()),
        "iscrowd": crowd,
    }
