"""predict: any names on any pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.checkpoint import read_safetensors


def predict(miniature, *args, check=True):
    output = miniature.stage("predict", *map(str, args), check=check, configfile=False)
    assert "Traceback" not in output
    return output


def test_overlays_and_coco_json_of_pictures_of_every_kind(miniature, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    scene = Image.open(next((miniature.folder / "data" / "toy" / "val").glob("*.jpg")))
    scene.convert("L").save(pictures / "grey.png")
    scene.convert("CMYK").save(pictures / "print.jpg")
    scene.convert("RGBA").save(pictures / "alpha.png")
    (pictures / "broken.jpg").write_text("no picture")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.resize((90, 60)).save(pictures / "upright.jpg", exif=exif)
    weights = miniature.run / "finetune_detector" / "all.safetensors"
    out = tmp_path / "out"
    output = predict(
        miniature, "--weights", weights, "--images", pictures, "--classes", "umbrella, dragon fruit", "--out", out,
        "--score", 0, "--max-detections", 3,
    )  # fmt: skip
    assert "in 4 pictures" in output and "broken.jpg is no picture of the kinds" in output
    coco = COCO(str(out / "predictions.json"))
    assert {category["name"] for category in coco.cats.values()} == {"umbrella", "dragon fruit"}
    assert coco.anns, "a threshold of 0 lets something through"
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        assert coco.annToMask(annotation).shape == (image["height"], image["width"])
    upright = next(image for image in coco.imgs.values() if image["file_name"].endswith("upright.jpg"))
    assert (upright["width"], upright["height"]) == (60, 90)
    drawings = sorted(out.glob("*.png"))
    assert len(drawings) == 4 and np.array(Image.open(drawings[0])).shape[2] == 3


def test_mistakes_are_one_line(miniature, tmp_path):
    weights = miniature.run / "train_detector" / "all.safetensors"
    scene = next((miniature.folder / "data" / "toy" / "val").glob("*.jpg"))
    assert "is not there" in predict(
        miniature, "--weights", weights, "--images", tmp_path / "gone", "--classes", "cat", check=False
    )
    wspn = miniature.run / "train_wspn" / "all.safetensors"
    output = predict(miniature, "--weights", wspn, "--images", scene, "--classes", "cat", check=False)
    assert "no detector's checkpoint" in output
    output = predict(miniature, "--weights", weights, "--images", scene, "--classes", " , ", check=False)
    assert "names nothing" in output
    output = predict(
        miniature,
        "--weights",
        weights,
        "--images",
        scene,
        "--classes",
        "cat",
        "--text-weights",
        "gone.pth",
        check=False,
    )
    assert "gone.pth is not there" in output and "point --text-weights at it" in output
    output = predict(
        miniature, "--weights", weights, "--images", scene, "--classes", "cat", "--device", "abacus", check=False
    )
    assert "predict: --device abacus" in output


def test_results_that_cannot_be_written_are_one_line(miniature, tmp_path):
    long_name = tmp_path / f"{'n' * 250}.png"
    Image.new("RGB", (64, 48)).save(long_name)
    asked = (
        "--weights",
        miniature.run / "train_detector" / "all.safetensors",
        "--images",
        long_name,
        "--classes",
        "cat",
    )
    assert f"{long_name} is no folder" in predict(miniature, *asked, "--out", long_name, check=False)
    full = tmp_path / "full"
    full.mkdir()
    (full / "predictions.json").symlink_to("/dev/full")
    assert "predict: the disk is full" in predict(miniature, *asked, "--out", full, check=False)
    assert len(list(full.glob("1_nnn*.png"))) == 1


def test_the_text_embedders_files_may_have_moved(miniature, tmp_path):
    weights = miniature.run / "train_detector" / "all.safetensors"
    tensors, settings = read_safetensors(weights)
    at = Path(settings["text_embedder"]["weights"])
    settings["text_embedder"] |= {"weights": str(tmp_path / "gone.safetensors"), "tokens": str(tmp_path / "gone.txt")}
    moved = tmp_path / "moved.safetensors"
    save_file(tensors, str(moved), {"cap2mask": json.dumps(settings)})
    with safe_open(at, framework="pt") as file:
        words = json.loads(file.metadata()["cap2mask"])["vocabulary"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    scene = next((miniature.folder / "data" / "toy" / "val").glob("*.jpg"))
    asked = ("--images", scene, "--classes", "cat", "--score", 0, "--out")
    output = predict(miniature, "--weights", moved, *asked, tmp_path / "a", "--text-weights", at, check=False)
    assert "gone.txt is not there" in output and "point --text-tokens at it" in output
    found = ("--text-weights", at, "--text-tokens", tmp_path / "vocab.txt")
    other = tmp_path / "store" / "00" / f"{64 * '0'}.safetensors"  # a blob that is not what it was
    other.parent.mkdir(parents=True)
    other.write_bytes(at.read_bytes())
    flags = ("--text-weights", other, *found[2:])
    output = predict(miniature, "--weights", moved, *asked, tmp_path / "a", *flags, check=False)
    assert "does not hold what its name says" in output
    predict(miniature, "--weights", moved, *asked, tmp_path / "a", *found)
    predict(miniature, "--weights", weights, *asked, tmp_path / "b")
    assert (tmp_path / "a" / "predictions.json").read_text() == (tmp_path / "b" / "predictions.json").read_text()
