"""Which images and annotations a detector learns from, and what is said of them."""

import logging
from itertools import groupby
from operator import itemgetter

from training.tables import LearnableImages, learnable_annotations

BASE, SLIVER = {"car", "dog"}, [3.0, 3.0, 0.5, 30.0]


def row(image_id, category, bbox=(0.0, 0.0, 9.0, 9.0), crowd=False, segmentation="a mask"):
    row = {"image_id": image_id, "category": category, "bbox": list(bbox), "iscrowd": crowd}
    return row | {"segmentation": segmentation}


def test_an_image_counts_that_holds_a_base_annotation_and_teaches_if_it_is_an_object(caplog):
    annotations = [
        row("base and novel", "car"),
        row("base and novel", "dog"),
        row("base and novel", "cat"),
        row("novel", "cat"),
        row("crowd", "car", crowd=True),
        row("crowd and base", "car", crowd=True),
        row("crowd and base", "dog"),
        row("sliver", "dog", SLIVER),
        row("unknown", "tree"),
    ]
    images = LearnableImages(BASE)
    with caplog.at_level(logging.INFO, logger="cap2mask"):
        chosen = [
            image_id for image_id, rows in groupby(annotations, itemgetter("image_id")) if images.learnable_in([*rows])
        ]
        images.log()
    assert chosen == ["base and novel", "crowd and base"]
    assert learnable_annotations(annotations, BASE) == [annotations[0], annotations[1], annotations[6]]
    assert caplog.messages == [
        "4 images hold 6 annotations of base categories; without crowds and boxes below a pixel, 2 images hold 3"
    ]


def test_boxes_without_an_outline_are_learned_from_and_counted(caplog):
    annotations = [row("a", "car"), row("a", "dog", segmentation=None), row("b", "dog", crowd=True, segmentation=None)]
    images = LearnableImages(BASE)
    with caplog.at_level(logging.INFO, logger="cap2mask"):
        assert images.learnable_in(annotations[:2]) and not images.learnable_in(annotations[2:])
        images.log()
    assert learnable_annotations(annotations, BASE) == annotations[:2]
    assert caplog.messages[1] == "1 of these have a box alone, which teaches boxes and names, and no mask"
