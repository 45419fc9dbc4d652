"""A gallery of made rows, as many as are asked for, without a run."""

from pathlib import Path

import numpy as np

from evaluation.gallery.index import Index
from evaluation.gallery.page import page_files
from evaluation.gallery.pictures import Small, packed
from evaluation.gallery.scripts import script
from structures.masks import encode

SIDE, PICTURES, OF_ONE = 160, 60, 5  # pixels of a picture, different pictures, labels of each image
NAMES = {f"{kind} {i}": group for i in range(30) for kind, group in (("cat", "base"), ("dog", "novel"))}


def make_gallery(folder: Path, rows: int, caption: str = "a photo of {} in a field") -> None:
    """Write a gallery of so many labels (a multiple of OF_ONE) into a folder, as the stage writes it, with maps of three
    iterations, 50 proposals, a mask and a true mask each. caption: {} stands for the name."""
    rng = np.random.default_rng(1)

    def save(path: str, content: bytes) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)

    small, masks = Small(SIDE, SIDE, SIDE), []
    for i in range(PICTURES):
        picture = np.full((SIDE, SIDE, 3), rng.integers(0, 255, 3), np.uint8)
        mask = np.zeros((SIDE, SIDE), bool)
        x, y = rng.integers(10, SIDE - 60, 2)
        mask[y : y + 50, x : x + 40] = True
        picture[mask] = rng.integers(0, 255, 3)
        masks.append((encode(mask)["counts"], [int(x), int(y), int(x) + 40, int(y) + 50]))
        save(f"pictures/{i}.jpg", small.jpeg(picture))
    maps = packed(rng.random((3, 14, 14)))
    proposals = (rng.random((50, 4)) * SIDE).round(1).tolist()
    index, names = Index(save, NAMES), list(NAMES)
    for image in range(rows // OF_ONE):
        categories = [names[(7 * image + i) % len(names)] for i in range(OF_ONE)]
        captions = [
            {"text": caption.replace("{}", name), "marks": [[11, 11 + len(name), i]]}
            for i, name in enumerate(categories)
        ]
        counts, box = masks[image % PICTURES]
        content = {
            "id": f"image {image}",
            "path": f"train/{image}.jpg",
            "split": "train",
            "file": f"pictures/{image % PICTURES}.jpg",
            "height": SIDE,
            "width": SIDE,
            "size": [SIDE, SIDE],
            "captions": captions,
            "proposals": proposals,
            "truth": [[index.category(categories[0]), counts]],
        }
        scores = rng.random(OF_ONE)
        made = [
            {
                "category": index.category(name),
                "source": index.source("ovis", "labels"),
                "state": "kept" if i else "pseudo_labels: small_mask",
                "instance": 0,
                "caption": i,
                "measures": {"score": scores[i], "iou": scores[-i], "area": 2000},
                "detail": {
                    "box": box,
                    "counts": counts,
                    "maps": {"shape": [3, 14, 14], "cells": maps},
                    "numbers": {"pseudo_masks": {"score": float(scores[i])}},
                },
            }
            for i, name in enumerate(categories)
        ]
        index.add(content, made)
    save("summary.js", script("summary", index.finish() | {"curves": {}, "ap": [], "rejects": [], "notes": {}}))
    for name, page in page_files().items():
        save(name, page)
