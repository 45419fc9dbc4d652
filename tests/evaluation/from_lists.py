"""Scores of lists of rows in any order, as cases are written by hand."""

from collections.abc import Collection, Iterator, Sequence

from evaluation.average_precision import MAX_DETECTIONS, AveragePrecision
from evaluation.protocols import protocol_scores as scores_of_images


def by_image(
    images: dict, truth: list[dict], detections: list[dict], not_exhaustive: Collection[tuple[str, str]] = ()
) -> Iterator[tuple]:
    for image_id in sorted(images):
        of_image = ([row for row in rows if row["image_id"] == image_id] for rows in (truth, detections))
        yield images[image_id], *of_image, {category for owner, category in not_exhaustive if owner == image_id}


def average_precision(
    images: dict,
    truth: list[dict],
    detections: list[dict],
    groups: dict[str, Sequence[str]],
    kind: str,
    *,
    not_exhaustive: Collection[tuple[str, str]] = (),
    max_detections: int = MAX_DETECTIONS,
) -> dict:
    measure = AveragePrecision([name for members in groups.values() for name in members], kind, max_detections)
    for image in by_image(images, truth, detections, not_exhaustive):
        measure.add(*image)
    return measure.scores(groups)


def protocol_scores(
    images: dict, truth: list, detections: dict[str, list], base: Sequence, novel: Sequence
) -> Iterator:
    return scores_of_images(lambda competing: by_image(images, truth, detections.get(competing, [])), base, novel)
