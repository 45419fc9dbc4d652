"""selective_search against OpenCV's fast mode and a package, select_boxes against a NumPy sum over each box."""

from collections.abc import Callable
from dataclasses import asdict

import cv2
import numpy as np

from benchmarks.measure import Row, interleaved
from evaluation.label_quality import box_recall
from models.grounding.box_choice.activation import choose
from models.proposals.selective_search import selective_search as search
from sources.toy.scenes import draw_scene, scene_rng
from structures.boxes import xywh_to_xyxy

SIZE = (640, 480)
PAIRS, BOXES, CELLS = 100_000, 50, 16


def opencv_fast(image: np.ndarray) -> np.ndarray:
    """OpenCV's selective search, fast mode with its own values: N x 4 xyxy."""
    engine = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    engine.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    engine.switchToSelectiveSearchFast()
    return xywh_to_xyxy(np.asarray(engine.process(), np.float32).reshape(-1, 4))


def _collages(count: int) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Pictures of 640 x 480 with the boxes (xywh) of their objects: drawn scenes side by side, enlarged."""
    collages = []
    for i in range(count):
        scenes = [draw_scene(scene_rng(5, "train", 6 * i + j)) for j in range(6)]
        tiles, boxes = [], []
        for position, scene in enumerate(scenes):
            height, width = scene.image.shape[:2]
            tile = np.zeros((160, 160, 3), np.uint8) + scene.image.mean((0, 1)).astype(np.uint8)
            tile[:height, :width] = scene.image
            tiles.append(tile)
            for scene_object in scene.objects:
                ys, xs = np.nonzero(scene_object.mask)
                if len(ys):
                    box = np.array([xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1], float)
                    box[:2] += (160 * (position % 3), 160 * (position // 3))
                    boxes.append(box * (640 / 480, 480 / 320, 640 / 480, 480 / 320))
        sheet = np.concatenate([np.concatenate(tiles[:3], 1), np.concatenate(tiles[3:], 1)], 0)
        collages.append((cv2.resize(sheet, SIZE, interpolation=cv2.INTER_CUBIC), boxes))
    return collages


def selective_search(device: str) -> list[Row]:
    """A row against OpenCV's fast mode and one against the package, on one core; recall at IoU 0.5 by all boxes."""
    cv2.setNumThreads(1)
    collages = _collages(12)
    pictures = [picture for picture, _ in collages]
    limits = {"min_side": 1, "max_boxes": 100_000, "seed": 1}

    def quick(picture: np.ndarray) -> np.ndarray:
        return search(picture, mode="quick", **limits)[0]

    def package(picture: np.ndarray) -> np.ndarray:
        return search(picture, mode="package", **limits)[0]

    def recall(proposals: list[np.ndarray]) -> float:
        return float(
            np.mean([box_recall(boxes, box) for boxes, (_, bboxes) in zip(proposals, collages) for box in bboxes])
        )

    ours = [quick(picture) for picture in pictures]
    timed = pictures[:4]

    def row(name: str, baseline: Callable[[np.ndarray], np.ndarray]) -> Row:
        theirs = [baseline(picture) for picture in pictures]
        comparison = interleaved(
            lambda: [quick(picture) for picture in timed],
            lambda: [baseline(picture) for picture in timed],
            units=len(timed),
            baseline_units=len(timed),
        )
        details = {"recall": recall(ours), "baseline_recall": recall(theirs)}
        return Row(
            name=name,
            unit="images/s a core",
            sizes=f"640 x 480, {len(pictures)} pictures, {np.mean([len(boxes) for boxes in ours]):.0f} boxes against "
            f"{np.mean([len(boxes) for boxes in theirs]):.0f}",
            **asdict(comparison),
            wanted=4.0 if details["recall"] >= details["baseline_recall"] - 0.01 else float("inf"),
            agreement=f"recall at IoU 0.5 {details['recall']:.3f}, baseline {details['baseline_recall']:.3f}",
            details=details,
        )

    return [row("selective_search", opencv_fast), row("selective_search_package", package)]


def select_boxes(device: str) -> list[Row]:
    """The row; the baseline enlarges each map to the picture and sums it over each box, on a part of the pairs."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    maps = rng.random((PAIRS, CELLS, CELLS), np.float32) ** 3
    corners = np.sort(rng.integers(0, [width + 1, height + 1], (PAIRS, BOXES, 2, 2)), axis=2)
    corners[:, :, 1] = np.maximum(corners[:, :, 1], corners[:, :, 0] + 1)
    boxes = corners.reshape(PAIRS, BOXES, 4).astype(np.float32)
    sizes = {"heights": np.full(PAIRS, height), "widths": np.full(PAIRS, width)}
    part = 1000

    def by_sums() -> list[int]:
        best = []
        for activation, rectangles in zip(maps[:part], corners[:part].reshape(part, BOXES, 4)):
            pixels = cv2.resize(activation, SIZE, interpolation=cv2.INTER_NEAREST)
            scores = [
                pixels[y0:y1, x0:x1].sum() / np.sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in rectangles.tolist()
            ]
            best.append(int(np.argmax(scores)))
        return best

    comparison = interleaved(lambda: choose(maps, boxes, **sizes), by_sums, units=PAIRS, baseline_units=part, runs=9)
    ours = [
        chosen[0].index
        for chosen in choose(maps[:part], boxes[:part], heights=sizes["heights"][:part], widths=sizes["widths"][:part])
    ]
    same = np.mean(np.array(ours) == by_sums())
    return [
        Row(
            name="select_boxes",
            unit="pairs/s",
            sizes=f"{PAIRS:,} pairs x {BOXES} boxes on {CELLS} x {CELLS} cells over {width} x {height}; "
            f"baseline on {part} pairs",
            **asdict(comparison),
            wanted=50.0,
            agreement=f"the same box for {100 * same:.1f} % of pairs",
        )
    ]
