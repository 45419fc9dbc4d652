"""Conditions on inputs that several stages declare."""

from pipeline.registry import detectors

_OF_XPM = {"train_teacher", "train_student"}
_NOISE_STRATEGIES = {"robust", "stochastic_bce"}


def uses_ovis_labels(config: dict) -> bool:
    """Whether a detector of the run learns from Mask-free OVIS's pseudo-masks."""
    return config["student_labels"]["labels"] != "xpm" or not set(detectors(config)) <= _OF_XPM


def estimates_noise(config: dict) -> bool:
    """Whether the run trains a student that estimates the noise of its labels."""
    return "train_student" in detectors(config) and config["train_student"]["strategy"] in _NOISE_STRATEGIES
