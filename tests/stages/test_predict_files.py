"""predict: what it takes and what it writes, with a detector that finds a square in every picture."""

import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from stages import predict


class Square:
    """Finds one object of the second name, 10 x 10 pixels."""

    def to(self, device):
        return self

    def detect(self, picture, text, **asked):
        mask = torch.zeros((1, *picture.shape[-2:]), dtype=torch.bool)
        mask[0, 5:15, 5:15] = True
        boxes = torch.tensor([[5.0, 5.0, 15.0, 15.0]])
        found = {"boxes": boxes, "masks": mask, "scores": torch.tensor([0.75]), "labels": torch.tensor([1])}
        return {"asked": found}


@pytest.fixture()
def ask(monkeypatch, tmp_path):
    """ask(*arguments) runs the command in a folder with pictures/ and a video of five frames."""
    settings = {"detector": {"dimension": 4}, "text_embedder": {"weights": "w"}}
    monkeypatch.setattr("pipeline.checkpoint.read_safetensors", lambda path: ({}, settings))
    monkeypatch.setattr("models.detector.mask_rcnn.load_detector", lambda *given: Square())
    monkeypatch.setattr("pipeline.numerics.configure_torch", lambda threads: None)
    monkeypatch.setattr(predict, "_name_vectors", lambda section, names, *files: torch.zeros(len(names), 4))
    monkeypatch.chdir(tmp_path)
    for name in ("pictures/a.png", "pictures/deep/b.png", "pictures/deep/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (9, 99, 200)).save(name)
    video = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for shade in range(5):
        video.write(np.full((48, 64, 3), 50 * shade, np.uint8))
    video.release()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict", "--weights", "w", "--device", "cpu", *map(str, arguments)])
        predict.main()

    return run


def paths():
    return [image["file_name"] for image in json.loads(Path("predictions/predictions.json").read_text())["images"]]


def test_folders_patterns_and_files_are_taken_together(ask, capsys):
    ask("--images", "pictures/deep", "pictures/*.png", "--classes", "cat, dog")
    assert paths() == ["pictures/deep/b.png", "pictures/deep/c.png", "pictures/a.png"]
    assert "3 objects in 3 pictures" in capsys.readouterr().out
    ask("--images", "pictures/**/*.png", "--classes", "cat, dog", "--out", "other")
    coco = COCO("other/predictions.json")
    assert len(coco.imgs) == 3 and len(list(Path("other").iterdir())) == 4, "overlays, the file, and nothing else"
    annotation = coco.anns[1]
    assert coco.cats[annotation["category_id"]]["name"] == "dog" and annotation["score"] == 0.75
    assert coco.annToMask(annotation).sum() == 100


def test_a_videos_frames_are_pictures_every_so_many(ask, capsys):
    ask("--images", "clip.avi", "--every", "2", "--classes", "cat, dog", "--format", "huggingface", "yolo")
    said = capsys.readouterr()
    assert "3 objects in 3 pictures" in said.out and "3/3" in said.err
    files = sorted(Path("predictions/yolo/images").iterdir())
    assert [round(float(np.array(Image.open(file)).mean()), -1) for file in files] == [0, 100, 200]
    assert [file.read_text().split()[0] for file in sorted(Path("predictions/yolo/labels").iterdir())] == ["1"] * 3
    [table] = [pq.read_table(file) for file in Path("predictions/huggingface/data").iterdir()]
    first = table["image"][0].as_py()
    assert first["path"] == "clip.avi/000000.png" and Image.open(io.BytesIO(first["bytes"])).size == (64, 48)
    assert not Path("predictions/predictions.json").exists(), "coco was not asked for"


def test_names_come_from_a_file_too(ask):
    Path("names.txt").write_text("dog\n\n  traffic light \ncat\n", encoding="utf-8")
    ask("--images", "pictures/a.png", "--classes", "cat", "--names-file", "names.txt")
    names = [row["name"] for row in json.loads(Path("predictions/predictions.json").read_text())["categories"]]
    assert names == ["cat", "dog", "traffic light"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--images", "pictures/*.tga", "--classes", "cat"), r"pictures/\*.tga is not there"),
        (("--images", "pictures", "--classes", ","), "names nothing"),
        (("--images", "pictures", "--names-file", "gone.txt"), "gone.txt: No such file"),
        (("--images", "pictures", "--classes", "cat", "--every", "0"), "--every 0: at least 1"),
        (("--images", "broken.mp4", "--classes", "cat"), "none of the 1 pictures could be read"),
    ],
)
def test_mistakes_are_one_line(ask, arguments, what):
    Path("broken.mp4").write_text("no video")
    with pytest.raises(SystemExit, match=what):
        ask(*arguments)
