"""How fast each stage's core works at full size on this machine: what docs/scale.md is reckoned from.

    python -m benchmarks.rates [--device cuda] [--repeat 3]

Networks have random weights of the published sizes (ALBEF-base, ResNet-50), pictures are drawn scenes enlarged to 640 x
480, parameters are config/coco.yaml's, of XPM's trainings config/xpm.yaml's. Prints a table and writes benchmarks/rates.json,
which keeps what was measured on other devices; each rate is the median of the repeats after one warm-up, beside it the
arithmetic that one unit takes in matrix products and convolutions and the most memory of a GPU that was held.
"""

import argparse
import json
import tempfile
import weakref
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.crops import grabcut_options
from benchmarks.detector import three_objects
from benchmarks.grounding import albef_base
from benchmarks.measure import machine, seconds
from models.detector.mask_rcnn import OpenVocabularyMaskRCNN
from models.grounding.box_choice.activation import choose
from models.grounding.box_choice.soft_overlap import overlaps_of_boxes
from models.grounding.gradcam import iterative_gradcam
from models.grounding.nouns import NounFinder
from models.masks.grabcut import cut_out
from models.proposals.selective_search import selective_search
from models.proposals.wspn import WSPN, propose, wspn_loss
from models.xpm.caption_grounding import CaptionGroundedMaskRCNN
from models.xpm.equations import average_noise, reliability
from models.xpm.student import RobustStudent
from models.xpm.teacher import label_words
from pipeline.numerics import configure_torch
from sources.images import inspect_image
from sources.toy.scenes import draw_scene, scene_rng
from sources.vocabulary import read_vocabulary
from store.fingerprint import ROOT
from structures.pictures import float_on, uint8_tensor
from training.loop import autocast

RATES = Path(__file__).with_name("rates.json")
CAPTION = "A man in an orange vest rides a bicycle past a red bus and two dogs on the street."


class Rates:
    """The measured rates, a method a stage; each returns (function that does the work once, units done, unit)."""

    def __init__(self, device: str, batch: int):
        self.device, self.batch = device, batch
        self.scene = cv2.resize(draw_scene(scene_rng(1, "train", 0)).image, (640, 480), interpolation=cv2.INTER_CUBIC)
        rng = np.random.default_rng(0)
        corners = rng.uniform((0, 0), (560, 400), (2000, 2))
        self.boxes = np.concatenate([corners, corners + rng.uniform(20, 80, (2000, 2))], 1).astype(np.float32)

    def ingest(self):
        folder = tempfile.TemporaryDirectory()
        weakref.finalize(self, folder.cleanup)
        cv2.imwrite(f"{folder.name}/scene.jpg", self.scene)
        task = Path(folder.name), "scene.jpg", 10**8
        return lambda: [inspect_image(task) for _ in range(200)], 200, "images/s"

    def nouns(self):
        finder = NounFinder(**read_vocabulary(ROOT / "data/splits/coco.json").finder())
        return lambda: [finder.find(CAPTION) for _ in range(5000)], 5000, "captions/s"

    def selective_search(self):
        return lambda: selective_search(self.scene, mode="quick", min_side=20, max_boxes=2000, seed=1), 1, "images/s"

    def gradcam(self):
        model = albef_base(self.device).requires_grad_(False)
        if self.device == "cuda":
            model.in_bf16()
        images = torch.randn(self.batch, 3, 256, 256, device=self.device)
        picture = torch.arange(self.batch, device=self.device)
        ids = torch.randint(1000, 30000, (self.batch, 30), device=self.device)
        nouns = torch.zeros(self.batch, 30, dtype=torch.bool, device=self.device)
        nouns[:, 4] = True
        options = {"layers": (8,), "score": "itm", "mask_id": 103, "iterations": 3}
        return (
            lambda: iterative_gradcam(model, images, picture, ids, torch.ones_like(ids), nouns, **options),
            self.batch,
            "pairs/s",
        )

    def _wspn(self):
        model = WSPN(backbone="resnet50", categories=48, hidden=1024, min_size=480)
        model = model.to(self.device, memory_format=torch.channels_last)
        return model, float_on(self.device, uint8_tensor(self.scene)), torch.from_numpy(self.boxes).to(self.device)

    def train_wspn(self):
        model, picture, boxes = self._wspn()
        sampled = [boxes[:500]] * 2
        labels = torch.zeros(2, 48, device=self.device)
        labels[:, :3] = 1

        def step():
            outputs = model([picture] * 2, sampled)
            sum(wspn_loss(outputs, sampled, labels, targets=3, overlap=0.5, regression_weight=1.0)).backward()

        return step, 2, "images/s"

    def propose(self):
        model, picture, boxes = self._wspn()
        model.eval()

        @torch.inference_mode()
        def once():
            [(_, detection, offsets)] = model([picture], [boxes])
            propose(boxes, detection, offsets, height=480, width=640, rank="largest", nms_iou=0.7, top_k=50)

        return once, 1, "images/s"

    def select_boxes(self):
        count = 5000
        activation = np.random.default_rng(0).random((count, 16, 16), np.float32)
        boxes = np.broadcast_to(self.boxes[:50], (count, 50, 4))
        sizes = {"heights": np.full(count, 480), "widths": np.full(count, 640)}
        return lambda: choose(activation, boxes, **sizes), count, "pairs/s"

    def segment(self):
        generator = torch.Generator().manual_seed(0)
        crops = 16 * self.batch
        colours = torch.rand(crops, 3, 64, 64, generator=generator).to(self.device)
        activation = torch.rand(crops, 64, 64, generator=generator).to(self.device)
        inside = torch.zeros(crops, 64, 64, dtype=torch.bool, device=self.device)
        inside[:, 8:-8, 8:-8] = True
        options = grabcut_options()
        return lambda: cut_out(colours, activation, inside, **options), crops, "crops/s"

    def _detector(self, kind=OpenVocabularyMaskRCNN, names: int = 65, dimension: int = 512, **options):
        sizes = {"backbone": "resnet50", "trainable_layers": 3, "min_size": 800, "max_size": 1333}
        model = kind(**sizes | options, dimension=dimension).to(self.device, memory_format=torch.channels_last)
        text = F.normalize(torch.randn(names, dimension, device=self.device), dim=1)
        model.set_vocabulary(text)
        return model, float_on(self.device, uint8_tensor(self.scene)), text

    def _training(self, model, picture: torch.Tensor, target: dict, count: int, precision: str):
        """Steps of so many pictures (one on a processor) without an optimizer's."""
        count = min(count, self.batch) if self.device == "cuda" else 1
        target = {key: value.to(self.device) for key, value in target.items()}

        def step():
            with autocast(self.device, precision):
                losses = model([picture] * count, [dict(target) for _ in range(count)])
            sum(value for name, value in losses.items() if name.startswith("loss")).backward()

        return step, count, "images/s"

    def train_detector(self):
        model, picture, _ = self._detector()
        return self._training(model, picture, three_objects(), 8, "bf16" if self.device == "cuda" else "fp32")

    def pretrain_captions(self):
        sizes = XPM_NETWORK | {"names": 5000, "background": "zero"}
        model, picture, _ = self._detector(CaptionGroundedMaskRCNN, **sizes)
        return self._training(model.train(), picture, {"words": torch.arange(10)}, 32, "fp32")

    def train_teacher(self):
        model, picture, _ = self._detector(**XPM_NETWORK, background="zero", positive_fraction=1.0)
        model.freeze(["embedding"])
        return self._training(model.train(), picture, three_objects(), 8, "fp32")

    def teacher_labels(self):
        model, picture, text = self._detector(**XPM_NETWORK, background="zero")
        words, count = torch.tensor([1, 2, 3]), min(8, self.batch)
        return lambda: label_words(model.eval(), [picture] * count, [words] * count, text), count, "images/s"

    def _student(self):
        student = {"base": 48, "background": "zero", "positive_fraction": 1.0}
        model, picture, text = self._detector(RobustStudent, **XPM_NETWORK, **student)
        learned = {
            "weight": torch.ones(3),
            "pseudo": torch.tensor([False, True, True]),
            "annotated": torch.tensor(True),
        }
        return model, picture, three_objects() | learned, text

    def train_student(self):
        model, picture, target, _ = self._student()
        model.freeze(["backbone", "rpn"])
        return self._training(model.train(), picture, target, 8, "fp32")

    def label_noise(self):
        model, picture, target, text = self._student()
        model, count = model.eval(), min(8, self.batch)
        target = {key: value.to(self.device) for key, value in target.items()}

        @torch.inference_mode()
        def once():
            images, targets = model.transform([picture] * count, [dict(target) for _ in range(count)])
            regions = model.look(model.backbone(images.tensors), images.image_sizes, targets, text)
            return average_noise(regions["variance"]), reliability(regions["variance"], model.eta)

        return once, count, "images/s"

    def relabel(self):
        model, picture, text = self._detector()
        activation = np.random.default_rng(0).random((1, 16, 16), np.float32)
        boxes = torch.from_numpy(self.boxes[:50]).to(self.device)

        def once():
            regions, _ = model.eval().name_probabilities(picture, boxes, text, own_regions=True)
            return overlaps_of_boxes(activation[0], regions.cpu().numpy(), (480, 640), area_weight=0.12, linear=True)

        return once, 1, "images/s"

    def detect(self):
        model, picture, text = self._detector()
        model.eval()
        options = {"score_threshold": 0.05, "nms_iou": 0.5, "max_detections": 100}
        return lambda: model.detect(picture, {"all": text}, **options), 1, "images/s"


XPM_NETWORK = {"backbone": "resnet50_c4", "similarity": "dot", "temperature": 1.0, "dimension": 768}
STAGES = (
    "ingest",
    "nouns",
    "selective_search",
    "gradcam",
    "train_wspn",
    "propose",
    "select_boxes",
    "segment",
    "train_detector",
    "relabel",
    "detect",
    "pretrain_captions",
    "train_teacher",
    "teacher_labels",
    "train_student",
    "label_noise",
)


class _NoModules:
    """In place of the counter's hooks on modules, which can't be while autograd.grad runs; only the total is wanted."""

    parents = frozenset({"Global"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def gflop(work, units: int) -> float:
    """GFLOP of matrix products and convolutions in one call of `work`, a unit."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()
    with counter:
        work()
    return counter.get_total_flops() / units / 1e9


def measure(rates: Rates, stage: str, repeat: int) -> dict:
    """One row: the stage's units a second, the median of `repeat` runs after a warm-up, and GFLOP a unit."""
    configure_torch(torch.get_num_threads())
    work, units, unit = getattr(rates, stage)()
    arithmetic = gflop(work, units)
    rate = units / seconds(work, rates.device, repeat)
    held = torch.cuda.max_memory_allocated() / 2**30 if rates.device == "cuda" else None
    return {"stage": stage, "rate": rate, "unit": unit, "gflop": arithmetic, "gpu_gib": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="pairs and crops at once (default 4; 256 on CUDA)")
    parser.add_argument("--repeat", type=int, default=3, help="default %(default)s")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    args = parser.parse_args()
    rates = Rates(args.device, args.batch or (256 if args.device == "cuda" else 4))
    device = machine(args.device)
    print(f"{device}; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| stage | rate | unit | GFLOP a unit | GiB of a GPU |\n| --- | --- | --- | --- | --- |")
    rows = json.loads(RATES.read_text(encoding="utf-8")) if RATES.exists() else []
    for stage in args.stages:
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        row = measure(rates, stage, args.repeat) | {"device": device}
        rows = [old for old in rows if (old["stage"], old["device"]) != (stage, device)] + [row]
        held = "" if row["gpu_gib"] is None else f"{row['gpu_gib']:.3g}"
        print(f"| {stage} | {row['rate']:.3g} | {row['unit']} | {row['gflop']:.4g} | {held} |", flush=True)
    rows.sort(key=lambda row: (row["device"], STAGES.index(row["stage"])))
    RATES.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
