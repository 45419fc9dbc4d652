"""Average precision as COCO defines it, over groups of categories, with LVIS' rule (Gupta et al., 2019) for categories of which
an image may hold more objects than are annotated. Images go in one at a time, and stay as what became of each detection.

pycocotools matches detections with objects, some images at a time. Its accumulation is done here, a category at a time, as
it holds every image at once; tests hold both to the same numbers.
"""

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from evaluation.ground_truth import categories_without_outline
from structures.spilled import Spilled

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of COCOeval.stats, in its order
MAX_DETECTIONS = 100  # of a category in an image (COCO)
_IMAGES = 64  # matched together
_AREAS, _THRESHOLDS = 4, 10  # COCO's: all, small, medium, large; IoU 0.50 to 0.95
# of a detection; of each area range and threshold two bits: whether it is right, and whether it is wrong (neither: ignored)
_DETECTION = np.dtype([("score", "<f4"), ("outcomes", "u1", (_AREAS * _THRESHOLDS * 2 // 8,))])


class AveragePrecision:
    """Scores of detections against annotations.

    categories: that are measured; kind: "bbox" or "segm"; max_detections: of a category in an image that count, best first;
    folder: as Spilled's. What became of each detection, 14 bytes, lies in a file until its category's turn comes.
    """

    def __init__(
        self, categories: Sequence[str], kind: str, max_detections: int = MAX_DETECTIONS, folder: Path | None = None
    ):
        self._numbers = {category: i for i, category in enumerate(sorted({*categories}), start=1)}
        self._params = Params(kind)
        self._params.maxDets = [max_detections]
        self._kind = kind
        self._waiting: list[tuple[tuple[int, int], list[dict], list[dict]]] = []
        self._not_exhaustive: set[tuple[int, int]] = set()  # waiting images by their place, from 1 on, and categories
        self._detections, self._any_detection = Spilled(folder), False
        self._objects = np.zeros((len(self._numbers) + 1, _AREAS), np.int64)  # to be found, by category and area range
        self._known: set[int] = set()  # categories that have an object
        self._any_annotation = False

    def add(
        self,
        size: tuple[int, int],
        annotations: list[dict],
        detections: list[dict],
        not_exhaustive: Collection[str] = frozenset(),
    ) -> None:
        """Measure an image of (height, width).

        annotations: its rows with category, bbox (xywh pixels), segmentation (RLE, or None), area, iscrowd; detections: its
        rows with category, score (float32), bbox, segmentation; those of other categories are passed over; not_exhaustive:
        categories of which more may be there than is annotated: what is found beyond it is ignored. Of masks objects with a box
        alone are none, and what else is found of their category is ignored. Of equal scores the image that is added first
        comes first.
        """
        truth, found = ([row for row in rows if row["category"] in self._numbers] for rows in (annotations, detections))
        partial = {*not_exhaustive}
        if self._kind == "segm":
            partial |= categories_without_outline(truth)
            truth = [row for row in truth if row["segmentation"] is not None]
        self._waiting.append((size, truth, found))
        place = len(self._waiting)
        self._not_exhaustive |= {(place, self._numbers[name]) for name in partial if name in self._numbers}
        if len(self._waiting) == _IMAGES:
            self._match()

    def scores(self, groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """{group: {metric of METRICS: percent}} of groups of the categories, over those of each that have an object.

        -1 where none of a group's categories has an object; crowds are none. Whether a detection is small, medium or large
        is by the area of what is measured, its box or its mask, as in COCO's results of each kind.
        """
        self._match()
        if not self._any_annotation or not self._any_detection:
            found = {
                group: any(self._numbers[category] in self._known for category in members)
                for group, members in groups.items()
            }
            return {group: dict.fromkeys(METRICS, 0.0 if known else -1.0) for group, known in found.items()}
        precision = np.stack([self._precision(number) for number in self._numbers.values()], axis=2)
        return {
            group: _summary(precision[:, :, [self._numbers[category] - 1 for category in members]], self._params)
            for group, members in groups.items()
        }

    def _match(self) -> None:
        """Keep what became of the detections of the waiting images."""
        if not self._waiting:
            return
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = self._evaluation()
            evaluation.params.maxDets = self._params.maxDets
            evaluation._prepare()
            pairs = sorted({*evaluation._gts, *evaluation._dts})
            evaluation.ious = {pair: evaluation.computeIoU(*pair) for pair in pairs}
        for image, category in pairs:
            of_areas = [
                evaluation.evaluateImg(image, category, area, self._params.maxDets[-1]) for area in self._params.areaRng
            ]
            self._objects[category] += [int((of_area["gtIgnore"] == 0).sum()) for of_area in of_areas]
            kept = np.zeros(len(of_areas[0]["dtScores"]), _DETECTION)
            kept["score"] = of_areas[0]["dtScores"]
            matched = np.stack([of_area["dtMatches"] > 0 for of_area in of_areas])
            counts = ~np.stack([of_area["dtIgnore"] for of_area in of_areas])
            if (image, category) in self._not_exhaustive:
                counts &= matched
            outcomes = np.stack([matched & counts, ~matched & counts], axis=2)  # [areas, thresholds, 2, detections]
            kept["outcomes"] = np.packbits(
                outcomes.reshape(8 * kept["outcomes"].shape[1], -1), axis=0, bitorder="little"
            ).T
            self._detections.add(category, kept.tobytes())
            self._any_detection |= bool(len(kept))
        self._waiting, self._not_exhaustive = [], set()

    def _evaluation(self) -> COCOeval:
        """pycocotools' evaluation of the waiting images, numbered from 1 on."""
        key = {"bbox": "bbox", "segm": "segmentation"}[self._kind]
        # loadRes takes a result's area from its box wherever there is one, so each kind is given its own shape alone.
        shape = {"bbox": lambda row: [float(v) for v in row["bbox"]], "segm": _rle}[self._kind]

        def numbered(image: int, row: dict) -> dict:
            return {"image_id": image, "category_id": self._numbers[row["category"]], key: shape(row)}

        annotations = [
            numbered(image, row) | {"area": float(row["area"]), "iscrowd": int(row["iscrowd"])}
            for image, (_, rows, _) in enumerate(self._waiting, start=1)
            for row in rows
        ]
        results = [
            numbered(image, row) | {"score": float(row["score"])}
            for image, (_, _, rows) in enumerate(self._waiting, start=1)
            for row in rows
        ]
        self._any_annotation |= bool(annotations)
        self._known |= {row["category_id"] for row in annotations if not row["iscrowd"]}
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [
                {"id": image, "height": height, "width": width}
                for image, ((height, width), _, _) in enumerate(self._waiting, start=1)
            ],
            "categories": [{"id": number, "name": category} for category, number in self._numbers.items()],
            "annotations": [row | {"id": i} for i, row in enumerate(annotations, start=1)],
        }
        truth.createIndex()
        return COCOeval(truth, truth.loadRes(results) if results else COCO(), self._kind)

    def _precision(self, number: int) -> np.ndarray:
        """Precision of a category at each IoU threshold, recall and area range, [10, 101, 4]; -1 where it has no object, as
        COCOeval.accumulate."""
        recalls = self._params.recThrs
        precision = -np.ones((_THRESHOLDS, len(recalls), _AREAS))
        detections = np.frombuffer(self._detections[number], _DETECTION)
        detections = detections[np.argsort(-detections["score"], kind="mergesort")]
        for area, objects in enumerate(self._objects[number]):
            for threshold in range(_THRESHOLDS) if objects else ():
                right, wrong = (
                    np.cumsum(_outcome(detections, area, threshold, which), dtype=np.int32) for which in (0, 1)
                )
                of_recall = np.zeros(len(recalls))
                if len(detections):
                    reached = np.searchsorted(right / objects, recalls, side="left")
                    precise = wrong + right + np.spacing(1)
                    np.divide(right, precise, out=precise)
                    precise = np.maximum.accumulate(precise[::-1])[::-1]
                    known = reached < len(precise)
                    of_recall[known] = precise[reached[known]]
                precision[threshold, :, area] = of_recall
        return precision


def _outcome(detections: np.ndarray, area: int, threshold: int, which: int) -> np.ndarray:
    """Whether each detection is right (0) or wrong (1) in an area range at a threshold, [n] uint8."""
    byte, bit = divmod((area * _THRESHOLDS + threshold) * 2 + which, 8)
    return (detections["outcomes"][:, byte] >> bit) & 1


def _summary(precision: np.ndarray, params: Params) -> dict[str, float]:
    """The metrics of a group, of the precision of its categories, [10, 101, categories, 4], as COCOeval.summarize."""
    everything = slice(None)
    at = {round(value, 2): [i] for i, value in enumerate(params.iouThrs)}
    chosen = [(everything, 0), (at[0.5], 0), (at[0.75], 0), (everything, 1), (everything, 2), (everything, 3)]
    scores = {}
    for metric, (thresholds, area) in zip(METRICS, chosen):
        values = precision[thresholds][..., area]
        values = values[values > -1]
        scores[metric] = float(np.mean(values) * 100) if values.size else -1.0
    return scores


def _rle(row: dict) -> dict:
    """A row's mask as pycocotools takes it."""
    return {"size": [int(v) for v in row["segmentation"]["size"]], "counts": row["segmentation"]["counts"]}
