"""segment: crops a second against the published network on one crop, and the batched network against itself alone."""

from dataclasses import asdict

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.measure import Row, interleaved, seconds
from benchmarks.published import crop_network
from models.grounding.crops import Crop, cut_crop, lab_colours, paste_mask
from models.grounding.grounder import Grounder
from models.grounding.pairs import Pair
from models.masks.grabcut import cut_out
from models.masks.network import initial_weights, ranked_points, segment_crops, weight_count
from models.pixels import square
from models.vision_language.albef import ALBEF
from models.vision_language.tokens import read_tokenizer
from pipeline.config import load
from sources.toy.scenes import draw_scene, scene_rng
from store.fingerprint import ROOT
from structures.masks import encode, iou

SIDE, COMPARED = 64, 9  # pixels of our crops; how many of them the published network labels, too


def embedded_crops(scenes: int) -> list[tuple[Crop, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(crop, true mask, picture, the shipped model's activation, true box xyxy) of named objects of drawn scenes."""
    weights = ROOT / "data/weights/albef_toy.safetensors"
    model = ALBEF.from_checkpoint(weights, 168).float()
    grounder = Grounder(
        model,
        read_tokenizer(weights, None, 32),
        layers=(2, 3),
        score="mlm",
        masking="pair",
        iterations=3,
        threshold=0.5,
        batch=32,
        device="cpu",
    )
    objects, pairs = {}, []
    for i in range(scenes):
        scene = draw_scene(scene_rng(11, "train", i))
        text, named = scene.captions[0]
        for scene_object in scene.objects:
            word = scene_object.category
            if word in named and word in text and (str(i), word) not in objects:
                objects[str(i), word] = scene.image, scene_object.mask
                span = (text.index(word), text.index(word) + len(word))
                pairs.append(Pair(str(i), word, "0", text, (span,), square(scene.image, 168)))
    crops = []
    for pair, maps, _ in grounder.ground((pair, grounder.tokens(pair)) for pair in pairs):
        image, mask = objects[pair.image_id, pair.category]
        ys, xs = np.nonzero(mask)
        if min(np.ptp(xs), np.ptp(ys)) >= 16:
            box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
            activation = maps.max(0)
            crops.append((cut_crop(image, activation, box, side=SIDE, margin=0.15), mask, image, activation, box))
    return crops


def by_colour(crops: list[Crop], device: str, options: dict) -> np.ndarray:
    """Probabilities of `segment`'s grabcut for a list of crops."""
    stacked = [
        torch.from_numpy(np.stack(part)).to(device)
        for part in zip(*((lab_colours(crop.pixels), crop.activation, crop.inside) for crop in crops))
    ]
    return cut_out(*stacked, **options).cpu().numpy()


def grabcut_options() -> dict:
    """What the shipped configuration sets of the method."""
    return load(ROOT / "config/config.yaml")["segment"]["grabcut"]


def published_mask(image: np.ndarray, activation: np.ndarray, box: np.ndarray, device: str) -> np.ndarray:
    """The published procedure's mask in a whole picture, height x width bool."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box.round().astype(int)
    phi = cv2.resize(activation, (width, height), interpolation=cv2.INTER_LINEAR)[y0:y1, x0:x1]
    pixels = torch.from_numpy(image[y0:y1, x0:x1].transpose(2, 0, 1).astype(np.float32) / 255)
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = crop_network(pixels.to(device), torch.from_numpy(phi).to(device)).cpu().numpy() > 0.5
    return mask


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))


def segment(device: str) -> list[Row]:
    """The row: true boxes and real maps of drawn scenes; both sides' mean IoU with the truth on the same crops."""
    examples = embedded_crops(60)[:64]
    crops, truths = [crop for crop, *_ in examples], [encode(mask) for _, mask, *_ in examples]
    options = grabcut_options()
    pasted = [paste_mask(probability, crop) for probability, crop in zip(by_colour(crops, device, options), crops)]
    scores = [iou(mask["segmentation"], truth) if mask else 0.0 for mask, truth in zip(pasted, truths)]
    compared = examples[:COMPARED]
    published = [encode(published_mask(image, activation, box, device)) for _, _, image, activation, box in compared]
    published_score = float(np.mean([iou(mask, truth) for mask, truth in zip(published, truths)]))
    score = float(np.mean(scores[:COMPARED]))
    _, _, image, activation, box = sorted(compared, key=lambda example: _area(example[-1]))[COMPARED // 2]
    comparison = interleaved(
        lambda: by_colour(crops, device, options),
        lambda: published_mask(image, activation, box, device),
        units=len(crops),
        device=device,
    )
    rows = [
        Row(
            name="segment",
            unit="crops/s",
            sizes=f"{len(crops)} crops of drawn scenes at {SIDE} x {SIDE}; baseline: one of them, of median size, "
            f"{box[2] - box[0]:.0f} x {box[3] - box[1]:.0f}, 128 channels, 400 steps",
            **asdict(comparison),
            wanted=300.0 if score >= published_score else float("inf"),
            agreement=f"mean IoU {score:.3f} against {published_score:.3f} on the same {COMPARED} crops "
            f"(ours on all: {np.mean(scores):.3f})",
        )
    ]
    if device == "cuda":
        many = [crops[i % len(crops)] for i in range(1024)]
        rate = len(many) / seconds(lambda: by_colour(many, device, options), device)
        rows.append(Row("segment_gpu", "crops/s", "1,024 crops at once", rate, 1000.0, wanted=1.0))
    return rows


class _Alone(nn.Module):
    """The network of models.masks.network for one crop, of torch's convolutions, from the same weights."""

    def __init__(self, normal: torch.Tensor, channels: int):
        super().__init__()
        self.weights = nn.ParameterList(weight.clone() for weight in initial_weights(normal[None], channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, third = self.weights
        for weight in (first, second):
            x = nn.functional.conv2d(x, weight, padding=1)
            x = nn.functional.batch_norm(x, None, None, training=True).relu()
        return nn.functional.conv2d(x, third)[0, 0]


def _alone(crop, activation, normal, uniform, *, channels, steps, lr, foreground, background_share) -> torch.Tensor:
    """One crop's training, as models.masks.network describes it."""
    network = _Alone(normal, channels).to(crop.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    values = activation.flatten()[None]
    points = torch.cat(
        [
            ranked_points(values, foreground, uniform.shape[1], uniform[:1]),
            ranked_points(-values, background_share, uniform.shape[1], uniform[1:]),
        ],
        1,
    )[0]
    target = torch.zeros(len(points), device=crop.device)
    target[: uniform.shape[1]] = 1
    x = nn.functional.batch_norm(crop[None], None, None, training=True)
    for _ in range(steps):
        losses = nn.functional.binary_cross_entropy_with_logits(network(x).flatten()[points], target, reduction="none")
        loss = losses.view(2, -1).mean(1).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return network(x).sigmoid()


def segment_batched(device: str) -> list[Row]:
    """The row: the same network, size and steps, all crops at once against one at a time."""
    count, side, channels = (512 if device == "cuda" else 32), 32, 16
    options = {"channels": channels, "steps": 50, "lr": 0.05, "foreground": 0.2, "background_share": 0.3}
    examples = embedded_crops(60)
    crops = [examples[i % len(examples)][0] for i in range(count)]
    rng = np.random.default_rng(0)

    def smaller(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)

    work = [
        torch.from_numpy(part).to(device)
        for part in (
            np.stack([smaller(crop.pixels.transpose(1, 2, 0)).transpose(2, 0, 1) for crop in crops]).copy(),
            np.stack([smaller(crop.activation) for crop in crops]),
            rng.standard_normal((count, weight_count(channels)), dtype=np.float32),
            rng.random((count, 2, 100), dtype=np.float32),
        )
    ]
    together = segment_crops(*work, background="least", **options)
    checked = 8

    def all_alone() -> torch.Tensor:
        return torch.stack([_alone(*(part[i] for part in work), **options) for i in range(checked)])

    by_itself = torch.cat(
        [segment_crops(*(part[i : i + 1] for part in work), background="least", **options) for i in range(checked)]
    )
    difference = (by_itself - together[:checked]).abs().max()
    torch_difference = (all_alone() - together[:checked]).abs()
    comparison = interleaved(
        lambda: segment_crops(*work, background="least", **options),
        all_alone,
        units=count,
        baseline_units=checked,
        device=device,
    )
    return [
        Row(
            name="segment_batched",
            unit="crops/s",
            sizes=f"{count} crops at {side} x {side}, {channels} channels, 50 steps; baseline torch's convolutions",
            **asdict(comparison),
            wanted=(20.0 if device == "cuda" else 1.5) if difference <= 1e-5 else float("inf"),
            agreement=f"alone and together differ by {float(difference):.0e}, from torch's convolutions by at most "
            f"{float(torch_difference.max()):.0e} and {float(torch_difference.mean()):.0e} on average",
        )
    ]
