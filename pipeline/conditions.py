"""Conditions on inputs that several stages declare."""

from pipeline.registry import detectors

_OF_XPM = {"train_teacher", "train_student"}
_NOISE_STRATEGIES = {"robust", "stochastic_bce"}


def uses_ovis_labels(config: dict) -> bool:
    """Whether a detector of the run learns from Mask-free OVIS's pseudo-masks."""
    trained = set(detectors(config))
    return bool(trained - _OF_XPM) or ("train_student" in trained and config["student_labels"]["labels"] != "xpm")


def first_round(config: dict) -> bool:
    """Whether the labels are those of activation, boxes and their outlines."""
    return config["rounds"] == 1


def later_round(config: dict) -> bool:
    """Whether the labels are the detector's of the round before."""
    return config["rounds"] > 1


def reviewed(config: dict) -> bool:
    """Whether decisions of people are laid over the labels."""
    return bool(config["review"]["decisions"])


def first_round_alone(config: dict) -> bool:
    """first_round, where nobody decided about the labels."""
    return first_round(config) and not reviewed(config)


def later_round_alone(config: dict) -> bool:
    """later_round, where nobody decided about the labels."""
    return later_round(config) and not reviewed(config)


def compares_proposals(config: dict) -> bool:
    """Whether the run measures who proposes boxes on validation images."""
    return bool(config["evaluate_proposals"]["generators"])


def estimates_noise(config: dict) -> bool:
    """Whether the run trains a student that estimates the noise of its labels."""
    return "train_student" in detectors(config) and config["train_student"]["strategy"] in _NOISE_STRATEGIES
