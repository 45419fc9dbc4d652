"""Find and outline objects of any names in any pictures with a trained detector.

    python -m stages.predict --weights data/runs/toy/train_detector/all.safetensors --images pictures/ \\
        --classes "umbrella, dragon fruit"

Writes an overlay of each picture and predictions.json (COCO's format, with scores) into the folder --out. The names are
embedded by the model that the detector was trained with, which its checkpoint names; --text-weights and --text-tokens say
where its files lie if they have moved.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from pipeline.config import checked
from pipeline.files import content_digest, find_file
from pipeline.logs import message
from pipeline.parameters import model_options
from structures.errors import UserError

KINDS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_LONGEST = 50  # characters of a picture's name that its overlay has; file systems take 255 bytes


def main() -> None:
    """Command line; exits 1 with one line on a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="a detector's all.safetensors")
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="pictures, or folders of them")
    parser.add_argument("--classes", required=True, help="names, by commas")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="default %(default)s")
    parser.add_argument("--score", type=float, default=0.5, help="weaker detections are dropped (default %(default)s)")
    parser.add_argument("--nms", type=float, default=0.5, help="IoU, within a class (default %(default)s)")
    parser.add_argument("--max-detections", type=int, default=100, help="a picture (default %(default)s)")
    parser.add_argument(
        "--text-weights", help="the text embedder's weights, where the checkpoint's own path does not lead"
    )
    parser.add_argument("--text-tokens", help="the same of its vocab.txt, where it has one")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    args = parser.parse_args()
    try:
        predict(args)
    except (UserError, OSError) as error:
        sys.exit(f"predict: {message(error)}")


def predict(args: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises UserError where nothing could be done."""
    import torch

    from evaluation.drawing import draw_detections, encode_png
    from models.detector.detections import detection_rows
    from models.detector.mask_rcnn import load_detector
    from pipeline.checkpoint import read_safetensors
    from pipeline.numerics import configure_torch
    from sources.coco import instances_json
    from sources.images import ImageError, decode_image
    from structures.pictures import float_on, uint8_tensor
    from structures.progress import progress

    names = list(dict.fromkeys(name.strip() for name in args.classes.split(",") if name.strip()))
    if not names:
        raise UserError("--classes names nothing; wanted names divided by commas")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is no folder: name another")
    configure_torch(args.threads)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from error
    tensors, settings = read_safetensors(args.weights)
    if "detector" in settings and "text_embedder" not in settings:
        raise UserError(f"{args.weights} does not say how names become vectors: train it again with this version")
    if "detector" not in settings:
        raise UserError(
            f"{args.weights} is no detector's checkpoint: wanted is all.safetensors of train_detector, "
            "finetune_detector, train_teacher or train_student"
        )
    model = load_detector(tensors, settings, str(args.weights)).to(device)
    try:
        embedder = checked({"run": "any", "root": "any", "text_embedder": settings["text_embedder"]})["text_embedder"]
    except UserError as error:
        raise UserError(f"{args.weights} says wrong how names become vectors ({error}): name another") from error
    text = _name_vectors(embedder, names, args.text_weights, args.text_tokens).to(device)
    if text.shape[1] != settings["detector"]["dimension"]:
        raise UserError(
            f"the detector knows text embeddings of {settings['detector']['dimension']} numbers, its text embedder "
            f"with these weights gives {text.shape[1]}: name with --text-weights those that it was trained with"
        )
    files = _pictures(args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    images, detections = [], []
    for file in progress(files, description="detecting", unit="picture", total=len(files)):
        try:
            picture = decode_image(file)
        except ImageError as error:
            print(f"predict: passed over: {error}", file=sys.stderr)
            continue
        result = model.detect(
            float_on(device, uint8_tensor(picture)),
            {"asked": text},
            score_threshold=args.score,
            nms_iou=args.nms,
            max_detections=args.max_detections,
        )["asked"]
        rows = list(detection_rows(result, names))
        number = str(len(images) + 1)
        images.append({"image_id": number, "path": str(file), "width": picture.shape[1], "height": picture.shape[0]})
        areas = result["masks"].flatten(1).sum(1).tolist()
        detections += [row | {"image_id": number, "area": area} for row, area in zip(rows, areas)]
        (args.out / f"{number}_{file.stem[:_LONGEST]}.png").write_bytes(encode_png(draw_detections(picture, rows)))
    if not images:
        raise UserError(f"none of the {len(files)} pictures could be read")
    content = instances_json(images, detections, tuple(names), "detections")
    (args.out / "predictions.json").write_text(json.dumps(content), encoding="utf-8")
    print(f"{len(detections)} objects in {len(images)} pictures: {args.out / 'predictions.json'}, {args.out}/*.png")


def _name_vectors(section: dict, names: list[str], weights: str | None, tokens: str | None):
    """[names, dimension] text embeddings by the section text_embedder of a checkpoint; its files, where they have moved."""
    from models.vision_language.interface import load_text_embedder
    from models.vision_language.prompts import name_vectors

    weights, tokens = weights or section["weights"], tokens or section["tokens"]
    weights_file = find_file(weights, "--text-weights", "the weights that the detector was trained with")
    content_digest(weights_file)  # a file that is not what its name says is refused
    tokens_file = (
        find_file(tokens, "--text-tokens", "the vocab.txt that the detector was trained with") if tokens else None
    )
    embed = load_text_embedder(**model_options(section, weights_file, tokens_file))
    return name_vectors(embed, names, section["prompts"])


def _pictures(places: list[Path]) -> list[Path]:
    """The picture files that were named, and those inside the folders that were."""
    files = []
    for place in places:
        if place.is_dir():
            files += sorted(file for file in place.rglob("*") if file.suffix.lower() in KINDS)
        elif place.exists():
            files.append(place)
        else:
            raise UserError(f"{place} is not there (--images)")
    if not files:
        raise UserError(f"no picture in {', '.join(map(str, places))} ({', '.join(sorted(KINDS))})")
    return files


if __name__ == "__main__":
    main()
