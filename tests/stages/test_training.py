"""Training stages as a user runs them: killed and resumed, in bfloat16."""

import signal
import subprocess
import sys
import time

import pandas as pd
import pytest


def start(miniature, *args):
    """A training in an interpreter of its own, not waited for."""
    config = str(miniature.folder / "config" / "config.yaml")
    command = [sys.executable, "-m", "stages.train_detector", "--configfile", config, "--threads", "1", *args]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=miniature.folder, env=miniature._environment(), **streams)


def result(miniature, run):
    folder = miniature.folder / "data" / "runs" / run / "train_detector"
    curve = pd.read_parquet(folder / "_curve" / "all.parquet")
    return (folder / "all.safetensors").resolve().name, curve


def test_a_killed_training_resumes_to_the_same_weights_and_curve(miniature):
    options = ("--training.save-every", "1", "--steps", "5")
    miniature.stage("train_detector", *options, "--into", "whole")
    killed = start(miniature, *options, "--into", "resumed", "--recompute")
    scratch = miniature.folder / "data" / "scratch"
    deadline = time.monotonic() + 60
    while not list(scratch.glob("*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    [checkpoint] = scratch.glob("*/checkpoint.pt")
    assert (checkpoint.parent / "curve.csv").read_text().startswith("step,name,value")
    miniature.stage("train_detector", *options, "--into", "resumed", "--recompute")
    digest, curve = result(miniature, "whole")
    resumed, its_curve = result(miniature, "resumed")
    assert resumed == digest
    pd.testing.assert_frame_equal(its_curve, curve)


def test_trainings_of_reduced_precision_and_of_parts_come_out_alike(miniature):
    options = ("--training.precision", "bf16", "--accumulate", "2", "--training.workers", "1")
    others = ("--training.deterministic", "true", "--into", "alike", "--device", "cpu")
    miniature.stage("train_detector", *options, *others)
    _, curve = result(miniature, "alike")
    _, alone = result(miniature, "mini")
    losses, loss_alone = (frame[frame.name == "loss"].value.iloc[-1] for frame in (curve, alone))
    assert losses == pytest.approx(loss_alone, rel=0.25), "other random regions, the same task"


def test_a_detector_that_learned_from_nothing_is_used_like_any_other(miniature, tmp_path):
    """Its normalisations learned, and have counters, which frozen ones lack."""
    nothing = ("--weights", "", "--trainable-layers", "5", "--steps", "1", "--batch", "1")
    miniature.stage("train_detector", *nothing, "--into", "nothing")
    checkpoint = miniature.folder / "data" / "runs" / "nothing" / "train_detector" / "all.safetensors"
    pictures = miniature.folder / "data" / "toy" / "val"
    arguments = ("--weights", checkpoint, "--images", pictures, "--classes", "cat", "--out", tmp_path)
    miniature._call([sys.executable, "-m", "stages.predict", *map(str, arguments)], True)
    assert (tmp_path / "predictions.json").exists()
