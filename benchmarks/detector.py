"""train_detector: images a second of a training step against torchvision's reference step on its own Mask R-CNN."""

import hashlib
import tempfile
import time
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from benchmarks.measure import RUNS, Row, interleaved
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from sources.coco import read_coco
from sources.toy.scenes import write_split
from structures.pictures import float_on
from training.loop import autocast, make_optimizer
from training.targets import detection_batches

NAMES, SIZE = 65, (480, 640)


def three_objects() -> dict:
    """A target of three objects in a picture of 640 x 480."""
    boxes = torch.tensor([[50.0, 50, 200, 200], [300, 100, 500, 400], [10, 300, 120, 460]])
    masks = torch.zeros(3, *SIZE, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
        mask[y0:y1, x0:x1] = 1
    return {"boxes": boxes, "labels": torch.tensor([1, 20, 60]), "masks": masks}


def _batch(count: int, device: str) -> tuple[list[torch.Tensor], list[dict]]:
    """Pictures of 640 x 480 with three objects each."""
    generator = torch.Generator().manual_seed(0)
    target = three_objects()
    images = [torch.rand(3, *SIZE, generator=generator).to(device) for _ in range(count)]
    return images, [{key: value.to(device) for key, value in target.items()} for _ in range(count)]


def train_detector(device: str) -> list[Row]:
    """The row, in fp32 and, on a GPU, with autocast; the loader's wait is measured on drawn scenes.

    Both train what torchvision's reference trains: the last three layers of a backbone whose normalisation is frozen.
    """
    count, small = (8, 800) if device == "cuda" else (1, 480)
    images, targets = _batch(count, device)
    torch.manual_seed(0)
    sizes = {"min_size": small, "max_size": 1333}
    ours = OpenVocabularyMaskRCNN(backbone="resnet50", trainable_layers=3, dimension=512, **sizes).to(device)
    ours = ours.to(memory_format=torch.channels_last).train()
    ours.set_vocabulary(F.normalize(torch.randn(NAMES, 512, generator=torch.Generator().manual_seed(1)), dim=1))
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    theirs = MaskRCNN(backbone, num_classes=1 + NAMES, **sizes).to(device).train()
    # a rate of 0: random weights would run away, and with them the number of regions, which is the work
    optimizers = {model: make_optimizer("sgd", model, lr=0.0, weight_decay=1e-4) for model in (ours, theirs)}
    first_losses: dict[str, float] = {}

    def step(model: torch.nn.Module, name: str, precision: str) -> None:
        torch.manual_seed(0)
        with autocast(device, precision):
            losses = model(images, [dict(target) for target in targets])
        loss = sum(losses.values())
        first_losses.setdefault(name, float(loss.detach()))
        optimizers[model].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[model].step()

    rows = []
    for precision in ("fp32", "bf16")[: 2 if device == "cuda" else 1]:
        comparison = interleaved(
            partial(step, ours, f"ours {precision}", precision),
            partial(step, theirs, "theirs", "fp32"),
            units=count,
            baseline_units=count,
            device=device,
        )
        rows.append(
            Row(
                name="train_detector" + ("" if precision == "fp32" else "_autocast"),
                unit="images/s",
                sizes=f"Mask R-CNN, ResNet-50-FPN, batch {count}, 640 x 480 at {small}",
                **vars(comparison),
                wanted=1.0 if precision == "fp32" else 1.5,
                agreement=f"weights {_weights(ours):,} against {_weights(theirs):,}; first losses "
                f"{first_losses[f'ours {precision}']:.2f} and {first_losses['theirs']:.2f}, both from random weights",
            )
        )
    return [*rows, _loader(device)]


def _weights(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _loader(device: str) -> Row:
    """The share of a step that waits for its batch, with the embedded detector, the quickest to feed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_split(root, "train", 48, 1)
        split = read_coco(root, "train", "annotations/instances_train.json")
        rows = sorted(split.annotations, key=itemgetter("image_id"))
        categories = sorted({row["category"] for row in rows})
        data = []
        for image_id, annotations in groupby(rows, itemgetter("image_id")):
            path = split.images[image_id][0]
            image = {"path": path, "sha256": hashlib.sha256((root / path).read_bytes()).hexdigest()}
            data.append(([image], list(annotations)))
        workers = 2 if device == "cuda" else 0
        batches = detection_batches(root, data, categories, batch=8, seed=0, workers=workers, accumulate=1)
        model = OpenVocabularyMaskRCNN(backbone="small", dimension=128, min_size=144, max_size=192).to(device).train()
        model.set_vocabulary(F.normalize(torch.randn(len(categories), 128), dim=1))
        waits, steps = [], []
        for step in range(RUNS + 4):
            began = time.perf_counter()
            batch = batches(step)
            loaded = time.perf_counter()
            targets = [{key: value.to(device) for key, value in target.items()} for _, target in batch]
            losses = model([float_on(device, picture) for picture, _ in batch], targets)
            sum(losses.values()).backward()
            waits.append(loaded - began)
            steps.append(time.perf_counter() - began)
    share = sum(waits[2:]) / sum(steps[2:])
    return Row("train_detector_wait", "share of a step", "embedded detector, batch 8", share, wanted=0.05, bound=True)
