"""Masks as COCO's run-length code (RLE), by pycocotools: from pixels, to pixels, their overlap, and from others' JSON.

pycocotools believes what it is given: counts that do not fill the picture become masks of memory that was never written,
far points take the memory of the machine. So what comes from outside passes read_segmentation first, once.
"""

import numpy as np
from pycocotools import mask as coco_mask

MAX_OUTLINE = 1_000_000  # pixels along the polygons of one object; pycocotools takes some 100 bytes for each
MAX_POLYGONS = 10_000  # of one object; pycocotools takes time with their square
_FIRST, _MORE, _SIGN, _BITS = 48, 0x20, 0x10, 5  # of a character of compressed counts


def encode(mask: np.ndarray) -> dict:
    """A height x width mask (bool or 0/1 uint8) as {"size": [height, width], "counts": compressed str}."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(segmentation: dict) -> np.ndarray:
    """COCO RLE to a height x width bool mask."""
    size = [int(v) for v in segmentation["size"]]
    return coco_mask.decode({"size": size, "counts": segmentation["counts"]}).astype(bool)


def iou(segmentation: dict, other: dict) -> float:
    """Intersection over union, in pixels, of two RLE masks of one size; 0 where both are empty. Raises ValueError."""
    if list(segmentation["size"]) != list(other["size"]):
        raise ValueError(f"masks of {list(segmentation['size'])} and {list(other['size'])} pixels don't compare")
    return float(coco_mask.iou([segmentation], [other], [0])[0, 0])


def box_of(segmentation: dict) -> list[float]:
    """The box around an RLE mask, xywh in pixels."""
    return [float(side) for side in coco_mask.toBbox(segmentation)]


def read_segmentation(segmentation: object, height: int, width: int) -> dict:
    """What a COCO JSON holds as an object's `segmentation`, as encode gives it: polygons (of a point or a line no pixel),
    uncompressed or compressed RLE.

    height, width: of its picture, at least 1. Raises ValueError where it is no mask of that picture: a point that is
    further outside than the picture is long, counts that do not fill the picture, another size, or no such form at all.
    """
    if isinstance(segmentation, list):
        return _encoded(coco_mask.merge(coco_mask.frPyObjects(_polygons(segmentation, height, width), height, width)))
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), list | str):
        raise ValueError("neither polygons nor RLE")
    size, counts = segmentation.get("size"), segmentation["counts"]
    if not isinstance(size, list) or [type(v) for v in size] != [int, int] or size != [height, width]:
        raise ValueError(f"a mask of size {size!r} in a picture of height and width {[height, width]}")
    runs = _uncompressed(counts) if isinstance(counts, str) else _integers(counts)
    if len(runs) == 0 or runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise ValueError(f"counts that do not fill the {height} x {width} pixels of the picture")
    return _encoded(coco_mask.frPyObjects({"size": size, "counts": _without_empty_runs(runs)}, height, width))


def _encoded(rle: dict) -> dict:
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _polygons(segmentation: list, height: int, width: int) -> list[list[float]]:
    """The polygons of three points and more."""
    if len(segmentation) > MAX_POLYGONS:
        raise ValueError(f"{len(segmentation)} polygons, more than {MAX_POLYGONS}")
    kept, corners, shorter = [], [], min(height, width)
    for polygon in segmentation:
        values = np.asarray(polygon) if isinstance(polygon, list) else np.empty(0, object)
        if values.ndim != 1 or values.dtype.kind not in "iuf" or len(values) % 2 or len(values) == 0:
            raise ValueError("a polygon is a list of numbers, x and y in turns")
        x, y = values[0::2], values[1::2]
        inside = values.min() >= -shorter and values.max() <= 2 * shorter  # which is most of them, and quickly asked
        if not inside and not (_near(x, width) and _near(y, height)):
            raise ValueError(f"a polygon with points far outside the {width} x {height} pixels of the picture")
        corners.append((x, y))
        if len(x) >= 3:
            kept.append(polygon)
    if not kept:
        raise ValueError("no polygon of three points")
    if 3 * max(height, width) * sum(len(x) for x, _ in corners) > MAX_OUTLINE:  # else it can't be so long
        length = sum(np.maximum(_steps(x), _steps(y)).sum() for x, y in corners)
        if length > MAX_OUTLINE:
            raise ValueError(f"polygons of {length:.0f} pixels along their sides, more than {MAX_OUTLINE}")
    return kept


def _near(values: np.ndarray, side: int) -> bool:
    return bool(values.min() >= -side and values.max() <= 2 * side)


def _steps(values: np.ndarray) -> np.ndarray:
    """How far it is from each to the next, and from the last to the first."""
    return np.abs(np.diff(values.astype(np.float64), append=values[:1]))


def _integers(counts: list) -> np.ndarray:
    if not all(type(v) is int and abs(v) < 1 << 62 for v in counts):
        raise ValueError("counts that are no whole numbers of pixels")
    return np.array(counts, np.int64)


def _uncompressed(counts: str) -> np.ndarray:
    """The runs of compressed counts: numbers of 5 bits a character, lowest first, from the third on as differences to the
    one before the last. Raises ValueError where the text is no such thing."""
    try:
        bits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _FIRST
    except UnicodeEncodeError as error:
        raise ValueError("counts with characters that are none of RLE") from error
    if len(bits) == 0 or bits.min() < 0 or bits.max() > 0x3F:
        raise ValueError("counts with characters that are none of RLE")
    last = (bits & _MORE) == 0
    ends = np.flatnonzero(last)
    if len(ends) == 0 or ends[-1] != len(bits) - 1:
        raise ValueError("counts that end within a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise ValueError("counts with a number that no picture has")
    place = np.arange(len(bits)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((bits & 0x1F) << (_BITS * place), starts)
    numbers -= np.where(bits[ends] & _SIGN, 1 << (_BITS * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _without_empty_runs(runs: np.ndarray) -> list[int]:
    """The same pixels without runs of length 0 but the first: pycocotools' boxes and overlaps count them."""
    owners = np.arange(len(runs)) % 2
    kept = runs > 0
    runs, owners = runs[kept], owners[kept]
    starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    merged = np.add.reduceat(runs, starts).tolist()
    return [0, *merged] if owners[0] else merged
