"""Find and outline objects of any names in any pictures, or the frames of videos, with a trained detector.

    python -m stages.predict --weights data/runs/toy/train_detector/all.safetensors --images pictures/ 'more/*.jpg' \\
        --classes "umbrella, dragon fruit"

Writes an overlay of each picture and predictions.json (COCO's format, with scores) into the folder --out; other formats
(--format) go into folders of their names there. The names are embedded by the model that the detector was trained with, which
its checkpoint names; --text-weights and --text-tokens say where its files lie if they have moved.
"""

import argparse
import glob
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from exports.writers import formats
from pipeline.config import checked
from pipeline.files import content_digest, find_file
from pipeline.logs import message
from pipeline.parameters import model_options
from structures.errors import UserError

KINDS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
_LONGEST = 50  # characters of a picture's name that its overlay has; file systems take 255 bytes
_WITHOUT_PICTURES = {"coco", "lvis"}  # formats that name pictures and hold none


class Picture(NamedTuple):
    """A picture, or a frame of a video. path: as the formats name it; stem: of its overlay; pixels(): height x width x 3 uint8
    RGB, or ImageError; content(): the bytes of a file of it."""

    path: str
    stem: str
    pixels: Callable
    content: Callable[[], bytes]


def main() -> None:
    """Command line; exits 1 with one line on a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="a detector's all.safetensors")
    parser.add_argument(
        "--images", nargs="+", required=True, help="pictures, folders of them, patterns ('shots/**/*.jpg'), videos"
    )
    parser.add_argument("--every", type=int, default=1, help="of a video each so many frames one (default %(default)s)")
    parser.add_argument("--classes", default="", help="names, by commas")
    parser.add_argument("--names-file", type=Path, help="a text file of names, one a line")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="default %(default)s")
    parser.add_argument(
        "--format", nargs="+", default=["coco"], choices=formats(), help=f"{', '.join(formats())} (default coco)"
    )
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
    from sources.images import ImageError
    from structures.label_ids import label_id
    from structures.pictures import float_on, uint8_tensor
    from structures.progress import progress

    names = _names(args.classes, args.names_file)
    if args.every < 1:
        raise UserError(f"--every {args.every}: at least 1")
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
    files = _files(args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    began, found, read = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="predictions-", dir=args.out) as scratch:
        kept = Path(scratch)
        keep_pictures = bool(set(args.format) - _WITHOUT_PICTURES)
        with (kept / "entries.jsonl").open("w", encoding="ascii") as entries:
            pictures = _pictures(files, args.every)
            for picture in progress(pictures, description="detecting", unit="picture", total=_count(files, args.every)):
                try:
                    pixels = picture.pixels()
                except ImageError as error:
                    print(f"predict: passed over: {error}", file=sys.stderr)
                    continue
                result = model.detect(
                    float_on(device, uint8_tensor(pixels)),
                    {"asked": text},
                    score_threshold=args.score,
                    nms_iou=args.nms,
                    max_detections=args.max_detections,
                )["asked"]
                rows = list(detection_rows(result, names))
                read, found = read + 1, found + len(rows)
                size = {"width": pixels.shape[1], "height": pixels.shape[0]}
                image = {"image_id": str(read), "path": picture.path} | size
                areas = result["masks"].flatten(1).sum(1).tolist()
                labels = [
                    {
                        "category": row["category"],
                        "instance": place,
                        "segmentation": row["segmentation"],
                        "area": area,
                        "bbox": [float(side) for side in row["bbox"]],
                        "confidence": min(1.0, max(0.0, float(row["score"]))),
                        "decided_by": "",
                    }
                    for place, (row, area) in enumerate(zip(rows, areas))
                ]
                labels = [row | {"label": label_id(row | image)} for row in labels]
                entries.write(json.dumps([image, labels]) + "\n")
                if keep_pictures:
                    (kept / str(read)).write_bytes(picture.content())
                overlay = args.out / f"{read}_{picture.stem[:_LONGEST]}.png"
                overlay.write_bytes(encode_png(draw_detections(pixels, rows)))
        if not read:
            raise UserError(f"none of the {len(files)} pictures could be read")
        _write(args.out, args.format, names, kept)
    rate = read / max(time.monotonic() - began, 1e-9)
    written = ", ".join(str(args.out / ("predictions.json" if name == "coco" else name)) for name in args.format)
    print(f"{found} objects in {read} pictures, {rate:.1f} a second: {written}, {args.out}/*.png")


def _write(out: Path, wanted: list[str], names: list[str], kept: Path) -> None:
    """The formats that are wanted, of what was kept of each picture."""
    from exports.coco import write_instances
    from exports.labelled import Category, Labelled
    from exports.writers import write_format

    def entries() -> Iterator[tuple[dict, list[dict]]]:
        with (kept / "entries.jsonl").open(encoding="ascii") as stream:
            for line in stream:
                image, labels = json.loads(line)
                yield image, labels

    left_out: list[str] = []
    data = Labelled(
        "predictions",
        tuple(map(Category, names)),
        entries,
        content=lambda image: (kept / image["image_id"]).read_bytes(),
        left_out=lambda image, label, reason: left_out.append(f"{image['path']}, {label['category']}: {reason}"),
        description="detections",
    )
    options = checked({"run": "any", "root": "any"})["export"]
    for name in wanted:
        if name == "coco":
            write_instances(out / "predictions.json", data)
            continue
        (out / name).mkdir(exist_ok=True)
        write_format(name, out / name, data, pictures=True, **options.get(name, {}))
    for line in left_out:
        print(f"predict: left out of yolo: {line}", file=sys.stderr)


def _names(classes: str, file: Path | None) -> list[str]:
    """The names that are asked for, each once."""
    from sources.tables import lines

    told = classes.split(",")
    if file is not None:
        told += [line for _, line in lines(file, "name a text file with --names-file")]
    names = list(dict.fromkeys(name.strip() for name in told if name.strip()))
    if not names:
        raise UserError("--classes or --names-file names nothing; wanted names divided by commas, or one a line")
    return names


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


def _files(places: list[str]) -> list[Path]:
    """The pictures and videos that were named, those inside the folders that were, and those of patterns."""
    files = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.suffix.lower() in KINDS | VIDEOS)
        elif path.exists():
            files.append(path)
        elif matches := [Path(match) for match in sorted(glob.glob(place, recursive=True))]:  # noqa: PTH207 (of any folder)
            files += [match for match in matches if match.is_file()]
        else:
            raise UserError(f"{place} is not there (--images)")
    if not files:
        kinds = ", ".join(sorted(KINDS | VIDEOS))
        raise UserError(f"no picture in {', '.join(map(str, places))} ({kinds})")
    return files


def _count(files: list[Path], every: int) -> int:
    """How many pictures there are, frames of videos as they say themselves."""
    import cv2

    count = 0
    for file in files:
        frames = 1
        if file.suffix.lower() in VIDEOS:
            frames = -(-max(0, int(cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT))) // every)
        count += frames
    return count


def _pictures(files: list[Path], every: int) -> Iterator[Picture]:
    """The pictures, and of videos every so many frames one."""
    from sources.images import decode_image

    for file in files:
        if file.suffix.lower() in VIDEOS:
            yield from _frames(file, every)
        else:
            yield Picture(str(file), file.stem, lambda file=file: decode_image(file), file.read_bytes)


def _frames(file: Path, every: int) -> Iterator[Picture]:
    """Frames of a video, decoded one after the other; one that can't be read is told as a picture is."""
    import cv2

    from evaluation.drawing import encode_png
    from sources.images import ImageError

    def fault() -> None:
        raise ImageError("broken_video", f"{file} is no video that OpenCV reads; convert it, or fetch it again")

    video, number = cv2.VideoCapture(str(file)), 0
    try:
        while video.grab():
            if number % every == 0:
                there, frame = video.retrieve()
                if not there:
                    break
                pixels = frame[..., ::-1].copy()
                name = f"{number:06d}"
                yield Picture(
                    f"{file}/{name}.png",
                    f"{file.stem[: _LONGEST - 7]}_{name}",
                    lambda pixels=pixels: pixels,
                    lambda pixels=pixels: encode_png(pixels),
                )
            number += 1
    finally:
        video.release()
    if not number:
        yield Picture(str(file), file.stem, fault, bytes)


if __name__ == "__main__":
    main()
