"""The embedded world: scenes of drawn objects with captions and true masks, written as a small COCO.

Every scene comes from (seed, purpose, index) alone, so any scene can be drawn again and no two purposes share one.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from sources.toy.captions import write_caption
from sources.toy.drawings import CATEGORIES, Shape
from structures.progress import progress

SUPERSAMPLING = 2
PURPOSES = {"train": 1, "val": 2, "pretrain": 3, "objects": 4}
SIDES = (128, 144, 160)


@dataclass(frozen=True)
class DrawnObject:
    """One object of a scene: its category, main colour (OpenCV HSV) and visible pixels (height x width bool)."""

    category: str
    colour: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """image: height x width x 3 uint8 RGB; captions: (text, categories that the text names)."""

    image: np.ndarray
    objects: list[DrawnObject]
    captions: list[tuple[str, set[str]]]


def scene_rng(seed: int, purpose: str, index: int) -> np.random.Generator:
    """The random numbers of scene `index` of a purpose (a key of PURPOSES)."""
    return np.random.default_rng([seed, PURPOSES[purpose], index])


def _rgb(hsv: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_HSV2RGB).reshape(3)


def _random_hsv(rng: np.random.Generator, saturation=(60, 240), value=(60, 240)) -> np.ndarray:
    return np.array([rng.integers(180), rng.integers(*saturation), rng.integers(*value)])


def _object_colour(category: str, rng: np.random.Generator, habit: float) -> np.ndarray:
    """Mostly the category's typical colour with a little jitter, else any."""
    if rng.random() >= habit:
        return _random_hsv(rng)
    hsv = np.array(CATEGORIES[category].typical_colour) + rng.normal(0, (4, 18, 18))
    return np.array([hsv[0] % 180, *np.clip(hsv[1:], 20, 250)]).astype(int)


def _texture(height: int, width: int, rng: np.random.Generator, most: float) -> np.ndarray:
    """A height x width x 1 factor within 1 - most and 1 + most: plain, stripes, blotches or a shade across."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.random() * np.pi
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / max(height, width)
    kind = rng.integers(4)
    strength = rng.uniform(0.3, 1) * most
    if kind == 0:
        pattern = np.zeros_like(along)
    elif kind == 1:
        pattern = np.sign(np.sin(along * 2 * np.pi * rng.uniform(8, 24)))
    elif kind == 2:
        coarse = rng.standard_normal((max(height // 10, 2), max(width // 10, 2))).astype(np.float32)
        pattern = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), -1, 1)
    else:
        pattern = along / max(float(np.abs(along).max()), 1e-6)
    return (1 + strength * pattern)[..., None]


def _polygon(shape: Shape) -> tuple[np.ndarray, float]:
    """A shape's points (N x 2, unit square) and line width (0: filled)."""
    kind, numbers = shape[0], shape[2:]
    if kind == "e":
        cx, cy, rx, ry = numbers
        t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1), 0.0
    if kind == "r":
        x0, y0, x1, y1 = numbers
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float), 0.0
    if kind == "l":
        return np.array(numbers[1:], float).reshape(-1, 2), numbers[0]
    return np.array(numbers, float).reshape(-1, 2), 0.0


def _paint(canvas, alpha, category, colour, center, size, angle, flip, rng):
    """Paint one object over canvas (float32 RGB); alpha (uint8) becomes 255 where it covers; both are supersampled."""
    height, width = alpha.shape
    roles = {
        "m": _rgb(colour),
        "a": _rgb(
            np.array([(colour[0] + rng.integers(40, 140)) % 180, rng.integers(100, 230), rng.integers(120, 240)])
        ),
        "d": _rgb(np.array([rng.integers(180), rng.integers(0, 80), rng.integers(15, 70)])),
        "w": _rgb(np.array([rng.integers(180), rng.integers(0, 45), rng.integers(205, 255)])),
    }
    layer = np.zeros((height, width, 3), np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    drawings = CATEGORIES[category].drawings
    for shape in drawings[rng.integers(len(drawings))]:
        points, line = _polygon(shape)
        local = (points - 0.5) * size * ((-1, 1) if flip else (1, 1))
        pixels = local @ np.array([[cos, sin], [-sin, cos]]) + center
        pixels = np.round(pixels).astype(np.int32).reshape(1, -1, 2)
        role = shape[1]
        value = 0 if role == "-" else 255
        rgb = (0.0, 0.0, 0.0) if role == "-" else tuple(float(c) for c in roles[role])
        if line:
            thickness = max(round(line * size.min()), SUPERSAMPLING)
            cv2.polylines(alpha, pixels, False, value, thickness)
            cv2.polylines(layer, pixels, False, rgb, thickness)
        else:
            cv2.fillPoly(alpha, pixels, value)
            cv2.fillPoly(layer, pixels, rgb)
    layer *= _texture(height, width, rng, 0.28)
    inside = alpha > 0
    canvas[inside] = layer[inside]


def _background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A cluttered ground: a wall and a floor of dull colours, blocks, blobs and lines upon them, texture and noise."""
    canvas = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.3, 0.8))
    for part in (slice(0, horizon), slice(horizon, height)):
        canvas[part] = _rgb(_random_hsv(rng, (5, 90), (70, 235)))
    for _ in range(rng.integers(4, 13)):
        rgb = tuple(float(c) for c in _rgb(_random_hsv(rng, (5, 100), (50, 240))))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = (int(v) for v in rng.uniform(0.04, 0.3, 2) * (width, height))
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), rgb, -1)
        elif kind == 1:
            cv2.ellipse(canvas, (x, y), (w // 2 + 1, h // 2 + 1), float(rng.random() * 180), 0, 360, rgb, -1)
        else:
            cv2.line(
                canvas, (x, y), (int(rng.integers(width)), int(rng.integers(height))), rgb, int(rng.integers(1, 7))
            )
    return canvas * _texture(height, width, rng, 0.14)


def _finish(canvas: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The supersampled canvas as an uint8 picture of (height, width), with a camera's noise."""
    small = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    noise = rng.normal(0, rng.uniform(1, 6), small.shape)
    return np.clip(small * rng.uniform(0.85, 1.1) + noise, 0, 255).astype(np.uint8)


def _choose_categories(rng: np.random.Generator) -> list[str]:
    names = list(CATEGORIES)
    chosen = rng.choice(len(names), size=rng.choice([1, 2, 3], p=[0.25, 0.45, 0.3]), replace=False)
    objects = []
    for i in chosen:
        count = rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])
        objects += [names[i]] * int(count)
    return objects[:5]


def draw_scene(
    rng: np.random.Generator, captions: int = 2, size: tuple[int, int] | None = None, habit: float = 0.75
) -> Scene:
    """One scene of 1 to 5 objects.

    captions: how many captions it gets; size: (height, width) in pixels, drawn from SIDES when None; habit: the chance
    of an object to have the category's typical colour. An object that would hide another by more than 40 % of its area
    is placed elsewhere or left out.
    """
    height, width = size or (int(rng.choice(SIDES)), int(rng.choice(SIDES)))
    big = (height * SUPERSAMPLING, width * SUPERSAMPLING)
    canvas = _background(*big, rng)
    placed: list[tuple[str, np.ndarray, np.ndarray, int]] = []
    for category in _choose_categories(rng):
        colour = _object_colour(category, rng, habit)
        for _ in range(8):
            aspect = CATEGORIES[category].aspect * rng.uniform(0.85, 1.18)
            longest = rng.uniform(0.26, 0.58) * min(big)
            extent = np.array([min(1.0, aspect), min(1.0, 1 / aspect)]) * longest
            center = np.array([rng.uniform(longest * 0.45, side - longest * 0.45) for side in big[::-1]])
            tilt = 10 if CATEGORIES[category].upright else 35
            angle = np.deg2rad(rng.uniform(-tilt, tilt))
            alpha = np.zeros(big, np.uint8)
            trial = canvas.copy()
            _paint(trial, alpha, category, colour, center, extent, angle, bool(rng.integers(2)), rng)
            mask = alpha > 0
            visible = [np.count_nonzero(other & ~mask) / full for _, _, other, full in placed]
            if mask.any() and all(share >= 0.6 for share in visible):
                canvas = trial
                for i, (name, hsv, other, full) in enumerate(placed):
                    placed[i] = (name, hsv, other & ~mask, full)
                placed.append((category, colour, mask, int(np.count_nonzero(mask))))
                break
    image = _finish(canvas, (height, width), rng)
    objects: list[DrawnObject] = []
    taken = np.zeros((height, width), bool)
    for category, colour, mask, _ in reversed(placed):  # a pixel that two objects share by halves goes to the front one
        small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5
        small &= ~taken
        taken |= small
        if np.count_nonzero(small) >= 20:
            objects.insert(0, DrawnObject(category, colour, small))
    spoken = [(o.category, o.colour) for o in objects]
    return Scene(image, objects, [write_caption(spoken, rng) for _ in range(captions)])


def draw_object(rng: np.random.Generator, size: int = 64) -> tuple[np.ndarray, str]:
    """One object on a ground (size x size x 3 uint8), and the category: what the backbones are pretrained on."""
    big = (size * SUPERSAMPLING, size * SUPERSAMPLING)
    canvas = _background(*big, rng)
    names = list(CATEGORIES)
    category = names[rng.integers(len(names))]
    aspect = CATEGORIES[category].aspect * rng.uniform(0.85, 1.18)
    extent = np.array([min(1.0, aspect), min(1.0, 1 / aspect)]) * rng.uniform(0.5, 1.05) * big[0]
    center = big[0] / 2 + rng.uniform(-0.12, 0.12, 2) * big[0]
    tilt = 10 if CATEGORIES[category].upright else 35
    colour = _object_colour(category, rng, 0.6)
    alpha = np.zeros(big, np.uint8)
    angle = np.deg2rad(rng.uniform(-tilt, tilt))
    _paint(canvas, alpha, category, colour, center, extent, angle, bool(rng.integers(2)), rng)
    return _finish(canvas, (size, size), rng), category


def _annotation(annotation_id: int, image_id: int, category_id: int, mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [float(v) for v in coco_mask.toBbox(rle)],
        "area": float(coco_mask.area(rle)),
        "iscrowd": 0,
        "segmentation": {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")},
    }


def _encoded_scene(task: tuple[int, str, int]) -> tuple[bytes, Scene]:
    """A scene and its JPEG."""
    scene = draw_scene(scene_rng(*task))
    _, jpeg = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return jpeg.tobytes(), scene


def _draw_all(split: str, count: int, seed: int) -> Iterator[tuple[bytes, Scene]]:
    """The scenes of a split with their JPEGs, in order, drawn by several processes where they are many."""
    tasks = [(seed, split, index) for index in range(count)]
    if count < 50:
        yield from map(_encoded_scene, tasks)
        return
    with ProcessPoolExecutor() as pool:
        yield from pool.map(_encoded_scene, tasks, chunksize=16)


def write_split(root: Path, split: str, count: int, seed: int) -> None:
    """Draw `count` scenes of a split into root/<split>/ and root/annotations/{instances,captions}_<split>.json."""
    folder = root / split
    folder.mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    category_ids = {name: i for i, name in enumerate(CATEGORIES, start=1)}
    images, instances, captions = [], [], []
    scenes = _draw_all(split, count, seed)
    shown = progress(scenes, description=f"drawing {split}", unit="scene", total=count)
    for index, (jpeg, scene) in enumerate(shown):
        image_id = PURPOSES[split] * 1_000_000 + index
        name = f"{image_id:012d}.jpg"
        (folder / name).write_bytes(jpeg)
        height, width = scene.image.shape[:2]
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for object_ in scene.objects:
            annotation_id = PURPOSES[split] * 1_000_000 + len(instances) + 1
            instances.append(_annotation(annotation_id, image_id, category_ids[object_.category], object_.mask))
        for i, (text, _) in enumerate(scene.captions):
            captions.append({"id": image_id * 10 + i, "image_id": image_id, "caption": text})
    categories = [{"id": i, "name": name, "supercategory": "drawn"} for name, i in category_ids.items()]
    for kind, rows in (
        ("instances", {"annotations": instances, "categories": categories}),
        ("captions", {"annotations": captions}),
    ):
        text = json.dumps({"images": images, **rows})
        (root / "annotations" / f"{kind}_{split}.json").write_text(text)
