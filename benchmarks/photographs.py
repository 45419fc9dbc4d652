"""`segment` and `selective_search` on photographs with true masks (COCO's layout), without a vision-language model.

    python -m benchmarks.photographs --root FOLDER --maps FILE.py [--split train2017 val2017]

FILE.py has partial_map(mask, rng): a stand-in for the activation of an object, made from its true mask. Every object
gets its true box and such a map; objects that are no crowd and wider and higher than 48 pixels count. Prints mean IoU
of the whole box, the thresholded map, the network of Eq. 7 and grabcut; the share of right boxes of each box-choice
method; and the recall of selective search's modes.
"""

import argparse
import importlib.util
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou
from tqdm import tqdm

from benchmarks.crops import by_colour, grabcut_options
from evaluation.label_quality import box_recall, threshold_map
from models.grounding.box_choice.interface import load_method
from models.grounding.crops import cut_crop, paste_mask
from models.masks.network import segment_crops, weight_count
from models.proposals.selective_search import selective_search
from sources.coco import read_coco
from sources.images import decode_image, resolve
from structures.boxes import xywh_to_xyxy
from structures.masks import decode, encode, iou

MIN_SIDE = 48  # pixels of an object that counts
CHOICES = {  # of a box: title, method, power of the map, the method's own parameters
    "Eq. 6": ("activation", 1, {}),
    "soft overlap": ("soft_overlap", 1, {"area_weight": 0.5}),
    "soft overlap of the squared map": ("soft_overlap", 2, {"area_weight": 0.12}),
}


def _objects(root: Path, splits: list[str]) -> list[tuple[str, np.ndarray, dict]]:
    """(path, box xyxy, true mask as RLE) of every object that counts."""
    objects = []
    for name in splits:
        split = read_coco(root, name, f"annotations/instances_{name}.json")
        for row in split.annotations:
            if not row["iscrowd"] and min(row["bbox"][2:]) > MIN_SIDE:
                path, _, _ = split.images[row["image_id"]]
                objects.append((path, xywh_to_xyxy(row["bbox"]), row["segmentation"]))
    return objects


def _network(crops: list) -> np.ndarray:
    """Eq. 7 with few channels and steps: what a processor can do in reasonable time."""
    rng = np.random.default_rng(0)
    inputs = [
        torch.from_numpy(part)
        for part in (
            np.stack([crop.pixels for crop in crops]),
            np.stack([crop.activation for crop in crops]),
            rng.standard_normal((len(crops), weight_count(16)), dtype=np.float32),
            rng.random((len(crops), 2, 200), dtype=np.float32),
        )
    ]
    options = {"channels": 16, "steps": 50, "lr": 0.05, "foreground": 0.2}
    return segment_crops(*inputs, background="frame", background_share=0.3, **options).numpy()


def masks(root: Path, splits: list[str], partial_map) -> None:
    """Print the mean IoU of each way to a mask."""
    objects = _objects(root, splits)
    options = grabcut_options()
    scores: dict[str, list[float]] = {}
    for first in tqdm(range(0, len(objects), 64), desc="masks", unit="batch", ascii=True):
        part = objects[first : first + 64]
        maps = [partial_map(decode(truth), np.random.default_rng(first + i)) for i, (_, _, truth) in enumerate(part)]
        images = [decode_image(resolve(root, path)) for path, _, _ in part]
        for name, side, method in (("network", 48, _network), ("grabcut", 64, lambda c: by_colour(c, "cpu", options))):
            crops = [
                cut_crop(image, activation, box, side=side, margin=0.15)
                for image, activation, (_, box, _) in zip(images, maps, part)
            ]
            for crop, probability, (_, _, truth) in zip(crops, method(crops), part):
                mask = paste_mask(probability, crop)
                scores.setdefault(name, []).append(iou(mask["segmentation"], truth) if mask else 0.0)
        for crop, activation, (_, _, truth) in zip(crops, maps, part):
            x0, y0, x1, y1 = crop.box
            box = np.zeros(crop.size, bool)
            box[y0:y1, x0:x1] = True
            scores.setdefault("whole box", []).append(iou(encode(box), truth))
            activated = threshold_map(activation, crop.size)
            scores.setdefault("map above one half", []).append(iou(encode(activated), truth))
    print(f"{len(objects)} objects, mean IoU: " + ", ".join(f"{name} {np.mean(v):.3f}" for name, v in scores.items()))


def proposals(root: Path, splits: list[str]) -> None:
    """Print recall at IoU 0.5, boxes and seconds an image of selective search's modes, on the same images in turns."""
    cv2.setNumThreads(1)
    totals = {mode: {"recall": [], "boxes": [], "seconds": []} for mode in ("fast", "quick", "package")}
    for split_name in splits:
        split = read_coco(root, split_name, f"annotations/instances_{split_name}.json")
        true_boxes: dict[str, list] = {}
        for row in split.annotations:
            if not row["iscrowd"]:
                true_boxes.setdefault(row["image_id"], []).append(row["bbox"])
        for image_id in tqdm(sorted(true_boxes), desc=f"proposals, {split_name}", unit="image", ascii=True):
            image = decode_image(resolve(root, split.images[image_id][0]))
            for mode, total in totals.items():
                began = time.perf_counter()
                boxes, _ = selective_search(image, mode=mode, min_side=1, max_boxes=100_000, seed=1)
                total["seconds"].append(time.perf_counter() - began)
                total["boxes"].append(len(boxes))
                total["recall"] += [box_recall(boxes, box) for box in true_boxes[image_id]]
    for mode, total in totals.items():
        print(f"selective search, {mode}: " + ", ".join(f"{kind} {np.mean(v):.3f}" for kind, v in total.items()))


def boxes(root: Path, splits: list[str], partial_map) -> None:
    """Print the share of objects whose box each score chooses with an IoU of at least 0.5 among selective search's, all of
    them and the first 50, and what an oracle would reach."""
    cv2.setNumThreads(1)
    of_image: dict[str, list[tuple[int, np.ndarray, dict]]] = {}
    for i, (path, box, truth) in enumerate(_objects(root, splits)):
        of_image.setdefault(path, []).append((i, box, truth))
    hits: dict[str, list[float]] = {}
    for path, objects in tqdm(of_image.items(), desc="boxes", unit="image", ascii=True):
        image = decode_image(resolve(root, path))
        proposed, _ = selective_search(image, mode="quick", min_side=8, max_boxes=2000, seed=1)
        size = {"heights": np.array([image.shape[0]]), "widths": np.array([image.shape[1]])}
        for i, box, truth in objects:
            activation = partial_map(decode(truth), np.random.default_rng(i))[None]
            overlap = box_iou(torch.tensor(proposed), torch.tensor(box[None], dtype=torch.float32))[:, 0].numpy()
            hits.setdefault("best of all", []).append(overlap.max() >= 0.5)
            for count in (50, len(proposed)):
                title = "the first 50" if count == 50 else "all"
                for name, (method, power, own) in CHOICES.items():
                    options = {"interpolation": "linear"} | size | own
                    [[choice]] = load_method(method)(activation**power, proposed[None, :count], **options)
                    hits.setdefault(f"{name} of {title}", []).append(overlap[choice.index] >= 0.5)
    print("boxes, share with IoU 0.5: " + ", ".join(f"{name} {np.mean(v):.3f}" for name, v in hits.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--split", nargs="+", default=["train2017", "val2017"])
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("maps", args.maps)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    masks(args.root, args.split, module.partial_map)
    boxes(args.root, args.split, module.partial_map)
    proposals(args.root, args.split)


if __name__ == "__main__":
    main()
