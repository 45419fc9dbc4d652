"""Conditions on inputs that several stages declare."""

from collections.abc import Callable

from pipeline.config import has_ground_truth
from pipeline.data_sources import has_instances
from pipeline.registry import detectors

_OF_XPM = {"train_teacher", "train_student"}
_NOISE_STRATEGIES = {"robust", "stochastic_bce"}


def uses_ovis_labels(config: dict) -> bool:
    """Whether a detector of the run learns from Mask-free OVIS's pseudo-masks."""
    trained = set(detectors(config))
    return bool(trained - _OF_XPM) or ("train_student" in trained and config["student_labels"]["labels"] != "xpm")


def trains(stage: str) -> Callable[[dict], bool]:
    """Whether a detector is trained in the run, as a condition."""
    return lambda config: stage in detectors(config)


def uses_xpm_labels(config: dict) -> bool:
    """Whether a student of the run learns from its teacher's labels."""
    return "train_student" in detectors(config) and config["student_labels"]["labels"] != "ovis"


def uses_ovis_labels_of_later_round(config: dict) -> bool:
    """Whether a detector of the run learns from what the detector of the round before found."""
    return uses_ovis_labels(config) and later_round(config)


def uses_teacher(config: dict) -> bool:
    """Whether XPM's teacher is trained in the run."""
    return bool(_OF_XPM & set(detectors(config)))


def has_annotations(config: dict) -> bool:
    """Whether there are outlined objects to learn from."""
    return has_instances(config, "train")


def is_scored(config: dict) -> bool:
    """Whether there is ground truth to score detectors by."""
    return has_ground_truth(config)


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


def measures_labels(config: dict) -> bool:
    """Whether the confidence of labels is made of what label_quality measures, too; before the second round no detector has
    looked at them."""
    known = {"score", "coverage", "agreement"} | ({"detector", "detector_iou"} if first_round(config) else set())
    return not set(config["pseudo_labels"]["measures"]) <= known


def compares_proposals(config: dict) -> bool:
    """Whether the run measures who proposes boxes on validation images."""
    return bool(config["evaluate_proposals"]["generators"])


def estimates_noise(config: dict) -> bool:
    """Whether the run trains a student that estimates the noise of its labels."""
    return "train_student" in detectors(config) and config["train_student"]["strategy"] in _NOISE_STRATEGIES
