"""Training of detectors: what is recorded, when the moving average follows, and several processes with unlike
batches."""

import os
import subprocess
import sys

import pytest
import torch

from models.detector.mask_rcnn import LOSSES, OpenVocabularyMaskRCNN
from models.xpm.self_training import SelfTrained
from store.fingerprint import ROOT
from training.detector import train_detector
from training.processes import LAUNCHED

SIZES = {"backbone": "small", "dimension": 6, "min_size": 64, "max_size": 96, "frozen": False}
OPTIONS = {
    "steps": 2,
    "lr": 0.001,
    "warmup": 0,
    "milestones": [],
    "optimizer": "sgd",
    "weight_decay": 0.0001,
    "precision": "fp32",
    "save_every": 100,
    "seed": 1,
    "device": "cpu",
    "description": "learning",
}

# On each of two processes: what each strategy learns in two steps, and the gradient of its first step beside the mean
# of the gradients that one network without processes has for each share of the batch.
PROCESSES = """
import itertools
from pathlib import Path

import torch

from models.xpm.self_training import SelfTrained
from models.xpm.student import RobustStudent
from tests.training.test_detector import OPTIONS, SIZES, batch
from training.detector import train_detector
from training.loop import step_seed
from training.processes import destroy_process_group, get_rank, init_process_group

torch.set_num_threads(1)
init_process_group("cpu")
students = {
    "robust": (RobustStudent, {}),
    "soft_teacher": (SelfTrained, {"confidence_threshold": 0.3, "ema_decay": 0.5, "pseudo_weight": 1.0}),
}


def new_student(strategy, seed):
    torch.manual_seed(seed)
    student, options = students[strategy]
    model = student(base=2, strategy=strategy, **options, **SIZES).train()
    model.freeze(["mask_head"])
    model.set_vocabulary(torch.eye(6)[:3])
    if strategy == "soft_teacher":
        model.start_teaching()
    return model


def gradients(model):
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def shares_in_one_process(strategy, shares):
    model = new_student(strategy, seed=0).to(memory_format=torch.channels_last)
    for share in range(shares):
        torch.manual_seed(step_seed(OPTIONS["seed"], 0, share))
        [(picture, target)] = batch(annotated=share == 0)
        losses = model([picture], [target])
        (sum(loss for name, loss in losses.items() if name.startswith("loss")) / shares).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    return gradients(model)


result = {}
for strategy, accumulate in itertools.product(students, (1, 2)):
    wanted = shares_in_one_process(strategy, 2 * accumulate)
    parts = itertools.count()
    # of the first step one share has annotations, of the second none
    batches = lambda step: batch(annotated=next(parts) == 0 and get_rank() == 0)
    options = OPTIONS | {"accumulate": accumulate, "scratch": Path(f"{strategy}{accumulate}")}
    model = new_student(strategy, seed=get_rank())  # the processes agree on the first one's weights
    train_detector(model, batches, **options | {"steps": 1})
    apart = {}
    got = gradients(model)
    for name in wanted.keys() | got.keys():
        zero = torch.zeros(())
        apart[name] = float((got.get(name, zero) - wanted.get(name, zero)).abs().max())
    size = max(float(gradient.abs().max()) for gradient in wanted.values())
    parts = itertools.count()
    model = new_student(strategy, seed=get_rank())
    curve = train_detector(model, batches, **options | {"scratch": Path(f"{strategy}{accumulate}-2")})
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    result[f"{strategy} {accumulate}"] = {"state": state, "curve": curve, "apart": apart, "size": size}
torch.save(result, f"{get_rank()}.pt")
destroy_process_group()
"""

# On each of two processes: the noise of the label that it sees in each of four steps, the least of which the second sees in
# the second step; then what the student holds at the end, without an interruption and with one before the third step.
INTERRUPTED = """
from pathlib import Path

import torch

from models.xpm.student import RobustStudent
from tests.training.test_detector import OPTIONS, SIZES, batch
from training.detector import train_detector
from training.processes import destroy_process_group, get_rank, init_process_group

torch.set_num_threads(1)
init_process_group("cpu")
now, noises = {}, {}


def train(scratch, stop_at=None):
    torch.manual_seed(0)
    model = RobustStudent(base=2, strategy="robust", **SIZES).train()
    model.set_vocabulary(torch.eye(6)[:3])
    model.noise_head.register_forward_hook(lambda head, given, raw: raw - 2 * (get_rank() == 1 and now["step"] == 1))
    model.register_forward_hook(lambda student, given, losses: noises.update({now["step"]: float(losses["noise"])}))

    def batches(step):
        if step == stop_at:
            raise KeyboardInterrupt
        now["step"] = step
        return batch()

    options = OPTIONS | {"steps": 4, "save_every": 1}
    train_detector(model, batches, **options, accumulate=1, scratch=Path(scratch))
    return model.state_dict()


whole = train("whole")
try:
    train("killed", stop_at=2)
except KeyboardInterrupt:
    resumed = train("killed")
torch.save({"noises": noises, "whole": whole, "resumed": resumed}, f"{get_rank()}.pt")
destroy_process_group()
"""


def on_two_processes(script, folder):
    """What each of two processes that run a script saved."""
    (folder / "learn.py").write_text(script)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launch, "learn.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", LAUNCHED: "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def batch(annotated=True):
    """A picture with an annotation and a pseudo-label, or with the pseudo-label alone."""
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[:, 10:40, 10:50] = 1
    target = {
        "boxes": torch.tensor([[10.0, 10, 50, 40], [8.0, 8, 44, 40]]),
        "labels": torch.tensor([2, 3]),
        "masks": masks,
        "weight": torch.ones(2),
        "pseudo": torch.tensor([False, True]),
    }
    if not annotated:
        target = {key: value[1:] for key, value in target.items()}
    return [(torch.rand(3, 64, 80), target | {"annotated": torch.tensor(annotated)})]


def objects(step):
    [(picture, target)] = batch()
    return [(picture, {key: target[key] for key in ("boxes", "labels", "masks")})]


def test_a_detector_learns_and_its_losses_are_recorded(tmp_path):
    torch.manual_seed(0)
    model = OpenVocabularyMaskRCNN(**SIZES).train()
    model.set_vocabulary(torch.eye(6)[:3])
    before = {name: value.clone() for name, value in model.named_parameters()}
    curve = train_detector(model, objects, **OPTIONS, accumulate=2, scratch=tmp_path)
    assert [row["name"] for row in curve] == ["loss", *LOSSES] and all(row["value"] > 0 for row in curve)
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())


def test_the_moving_average_follows_once_a_step_however_many_parts_a_batch_has(tmp_path, monkeypatch):
    torch.manual_seed(0)
    options = {"confidence_threshold": 1.0, "ema_decay": 0.5, "pseudo_weight": 1.0}
    model = SelfTrained(base=2, strategy="soft_teacher", **options, **SIZES).train()
    model.set_vocabulary(torch.eye(6)[:3])
    model.start_teaching()
    updates = []
    update = model.update_teacher
    monkeypatch.setattr(model, "update_teacher", lambda: updates.append(update()))
    name = "roi_heads.box_predictor.embedding.weight"
    before = model.get_parameter(name).detach().clone()
    train_detector(model, lambda step: batch(), **OPTIONS | {"steps": 1}, accumulate=3, scratch=tmp_path)
    after = model.get_parameter(name).detach()
    assert len(updates) == 1 and not torch.equal(before, after)
    torch.testing.assert_close(model.teacher.get_parameter(name), (before + after) / 2)


def test_processes_with_and_without_annotations_learn_by_the_mean_of_their_gradients(tmp_path):
    one, other = on_two_processes(PROCESSES, tmp_path)
    for case in one:
        assert one[case]["size"] > 0.01 and max(one[case]["apart"].values()) < 1e-6 * one[case]["size"], case
        assert max(other[case]["apart"].values()) == max(one[case]["apart"].values())
        assert one[case]["curve"] == other[case]["curve"]
        assert all(row["value"] > 0 for row in one[case]["curve"] if row["name"] in ("loss", "labels"))
        private = ("running_mean", "running_var")  # of what a process itself has seen
        for name, value in one[case]["state"].items():
            assert name.endswith(private) or torch.equal(value, other[case]["state"][name]), (case, name)


def test_the_least_noise_is_that_of_all_processes_also_after_an_interruption(tmp_path):
    one, other = on_two_processes(INTERRUPTED, tmp_path)
    least = min([*one["noises"].values(), *other["noises"].values()])
    assert least == other["noises"][1] < 0.5 * min(one["noises"].values())
    for states in (one, other):
        for state in (states["whole"], states["resumed"]):
            assert float(state["least_noise"]) == pytest.approx(least)
    for name, value in one["whole"].items():
        assert torch.equal(value, one["resumed"][name]), name
