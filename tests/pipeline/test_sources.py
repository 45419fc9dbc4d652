"""The papers' configurations say where each value is from: a paper, its authors' code, or "ours"."""

import re
from functools import reduce
from operator import getitem
from typing import NamedTuple

import pytest
import yaml

from pipeline.config import load, schema
from pipeline.lineage import parents
from pipeline.parameters import chosen
from store.fingerprint import ROOT

CONFIG = ROOT / "config"
FILES = ("coco", "openimages", "ovis", "xpm")
SOURCE = re.compile(r"\b(OVIS|XPM|OVR|ALBEF|CLIP|code|maskrcnn-benchmark|et al\.|ours)(?!\w)")
OURS = re.compile(r"\bours\b")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?k?\b")
# What is the user's own: names of the run, where files lie. The schema's `file` and `neutral` say the same of others.
NO_METHOD = {"run", "root", "detectors", "ingest", "tables", "device"}
# Whose every parameter the published configuration gives, so that no default of the schema hides in it.
OF_OVIS = (
    "vision_language", "gradcam", "activation_map", "optimizer", "training", "selective_search", "train_wspn", "propose",
    "select_boxes", "segment", "pseudo_labels", "text_embedder", "train_detector", "finetune_detector", "detect",
)  # fmt: skip
OF_XPM = (
    "categories", "nouns", "optimizer", "training", "text_embedder", "teacher_network", "pretrain_captions",
    "train_teacher", "student_labels", "train_student", "detect",
)  # fmt: skip
# How a schedule is divided on a machine or repeats itself, and what only other text embedders read.
MACHINES = {f"{stage}.accumulate" for stage in ("train_detector", "finetune_detector")} | {"training.deterministic"}
OF_OTHER_MODELS = {"text_embedder.precision", "text_embedder.max_tokens"}
OF_THE_WEIGHTS = {f"vision_language.albef.{name}_heads" for name in ("vision", "text")}
# What differs between XPM's two data sets, and what counts for nothing beside what the configuration gives.
OF_THE_DATA_SET = {"pretrain_captions.steps", "categories.base", "categories.novel"}
WITHOUT_EFFECT = {f"train_student.robust.eta_{name}" for name in ("steps", "images")}
WITHOUT_EFFECT |= {"student_labels.keep_corrupted", "text_embedder.background"}


class Value(NamedTuple):
    """A value of a configuration file: its dotted key, its rules of the schema, and the comment that it stands under."""

    key: str
    value: object
    rules: dict
    comment: str
    alone: bool


def values(text: str) -> list[Value]:
    """Every value of a YAML text that is a parameter of the method.

    A value's comment is that of its own line; of several lines together, that above its section's first line or above it.
    alone: no other value stands on its line.
    """
    lines = text.splitlines()
    leaves: list[tuple[str, yaml.Node, list[int]]] = []

    def walk(node: yaml.MappingNode, prefix: str, above: list[int]) -> None:
        for key, value in node.value:
            here = [*above, key.start_mark.line]
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{prefix}{key.value}.", here)
            else:
                leaves.append((f"{prefix}{key.value}", value, here))

    walk(yaml.compose(text), "", [])
    found = []
    for key, node, lines_of_keys in leaves:
        rules = _rules(key)
        if key.split(".")[0] in NO_METHOD or "file" in rules or rules.get("neutral"):
            continue
        comment = _comment(lines[lines_of_keys[-1]]) or " ".join(_above(lines, line) for line in lines_of_keys)
        alone = sum(other[2][-1] == lines_of_keys[-1] for other in leaves) == 1
        found.append(Value(key, yaml.safe_load(yaml.serialize(node)), rules, comment, alone))
    return found


def _rules(key: str) -> dict:
    rules = schema()
    for name in key.removeprefix("earlier_rounds.").split("."):
        rules = rules["properties"][name]
    return rules


def _comment(line: str) -> str:
    return match[1] if (match := re.search(r"(?:^|\s)#\s*(.*)$", line)) else ""


def _above(lines: list[str], line: int) -> str:
    """The comment on the lines directly above one, at its own depth."""
    depth, text = len(lines[line]) - len(lines[line].lstrip()), []
    while line and re.match(rf"^ {{{depth}}}#", lines[line - 1]):
        line -= 1
        text.insert(0, _comment(lines[line]))
    return " ".join(text)


def stated(value, comment: str) -> bool:
    """Whether a comment holds a number, or all of a list's: 90000 as 90k, 90,000 or 90000."""
    told = [word.replace(",", "") for word in NUMBER.findall(comment)]
    numbers = {float(word.rstrip("k")) * (1000 if word.endswith("k") else 1) for word in told}
    return all(float(number) in numbers for number in (value if isinstance(value, list) else [value]))


def _published(value, rules: dict) -> bool:
    """Whether the schema has the value from a source."""
    return value == rules.get("default") and bool(SOURCE.search(OURS.sub("", rules.get("description", ""))))


def faults(text: str) -> list[str]:
    """What is wrong with the sources of a YAML text: values without one, numbers that are not their source's."""
    told = []
    for key, value, rules, comment, alone in values(text):
        numbers = [v for v in (value if isinstance(value, list) else [value]) if type(v) in (int, float)]
        if not SOURCE.search(comment):
            told.append(f"{key}: {value!r} has no source")
        elif OURS.search(comment) and not alone and not comment.startswith("ours"):
            told.append(f"{key}: {comment!r} does not say which value of the line is ours")
        elif numbers and not (OURS.search(comment) or stated(value, comment) or _published(value, rules)):
            told.append(f"{key}: {value!r} is neither in {comment!r} nor the schema's default with a source")
    return told


@pytest.mark.parametrize("name", FILES)
def test_every_value_of_a_papers_configuration_says_where_it_is_from(name):
    text = (CONFIG / f"{name}.yaml").read_text(encoding="utf-8")
    assert not faults(text)
    assert len(values(text)) >= 1


SECTION = "gradcam:\n  score: itm        # OVIS, Eq. 3\n  iterations: 3     # OVIS, experiments: G = 3\n"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("# OVIS, Eq. 3", "# the match logit", "gradcam.score: 'itm' has no source"),
        ("# OVIS, Eq. 3", "", "gradcam.score: 'itm' has no source"),
        ("iterations: 3 ", "iterations: 4 ", "gradcam.iterations: 4 is neither in 'OVIS, experiments: G = 3'"),
        (
            "iterations: 3     # OVIS, experiments: G = 3",
            "batch: 32   # OVIS",
            "gradcam.batch: 32 is neither in 'OVIS'",
        ),
        (
            "iterations: 3     # OVIS, experiments: G = 3",
            "batch: 64   # OVIS",
            "gradcam.batch: 64 is neither in 'OVIS'",
        ),
        ("score: itm        # OVIS, Eq. 3", "threshold: 0.5   # seen", "gradcam.threshold: 0.5 has no source"),
    ],
)
def test_a_value_without_its_source_is_told(before, after, told):
    assert not faults(SECTION) and before in SECTION
    [fault] = faults(SECTION.replace(before, after))
    assert fault.startswith(told)


def test_a_number_of_ours_and_one_that_its_comment_states_need_no_default():
    assert not faults("train_wspn: {steps: 4000}   # ours, for a small folder\n")
    assert not faults("pretrain_captions:\n  steps: 150000   # XPM, 4.1: 150k iterations\n")
    assert not faults("# XPM, 3.2.4: these learn nothing\ntrain_student:\n  frozen: [backbone, rpn]\n")
    assert faults("train_detector:\n  milestones: [60000, 70000]   # OVIS: at 60k and 80k\n")
    assert faults("propose: {top_k: 50, wspn: {nms: 0.5}}   # OVIS: 50; ours\n"), "which of the two is ours?"


def parameters_in_effect(config: dict, sections: tuple[str, ...]) -> set[str]:
    """The dotted keys of what counts in the sections under a configuration, and may change a result."""

    def flat(key: str, value, rules: dict):
        if isinstance(value, dict):
            for name, item in value.items():
                yield from flat(f"{key}.{name}", item, rules.get("properties", {}).get(name, {}))
        elif not ({"neutral", "file"} & rules.keys() or "changes no" in rules.get("description", "")):
            yield key

    properties = schema()["properties"]
    chosen_parts = {name: chosen(config[name], properties[name]) for name in sections}
    return {key for name, part in chosen_parts.items() for key in flat(name, part, properties[name])}


def keys(mapping: dict, prefix: str = "") -> set[str]:
    return {
        key
        for name, value in mapping.items()
        for key in (keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"})
    }


@pytest.mark.parametrize("under", ["coco", "openimages"])
def test_the_published_mask_free_ovis_leaves_no_parameter_to_a_default(under):
    overlay = CONFIG / "ovis.yaml"
    given = keys(yaml.safe_load(overlay.read_text(encoding="utf-8")))
    in_effect = parameters_in_effect(load(CONFIG / f"{under}.yaml", overlay), OF_OVIS)
    assert {"segment.network.points", "train_wspn.hidden", "finetune_detector.keep_novel"} <= in_effect
    assert in_effect - given == MACHINES | OF_OTHER_MODELS | OF_THE_WEIGHTS


@pytest.mark.parametrize("under", ["coco", "openimages"])
def test_the_published_xpm_leaves_no_parameter_to_a_default(under):
    overlay = CONFIG / "xpm.yaml"
    given = keys(yaml.safe_load(overlay.read_text(encoding="utf-8")))
    in_effect = parameters_in_effect(load(CONFIG / f"{under}.yaml", overlay), OF_XPM)
    machines = {f"{stage}.accumulate" for stage in ("pretrain_captions", "train_teacher", "train_student")}
    machines |= {"training.deterministic"}
    assert in_effect - given == machines | OF_OTHER_MODELS | OF_THE_DATA_SET | WITHOUT_EFFECT


@pytest.mark.parametrize("name", ["coco", "openimages"])
def test_fine_tuning_learns_on_from_novel_labels_unless_as_published(name):
    file = CONFIG / f"{name}.yaml"
    assert "pseudo_labels" in parents("finetune_detector", load(file))
    assert "pseudo_labels" not in parents("finetune_detector", load(file, CONFIG / "ovis.yaml"))


# What a published system does otherwise than the small set's configuration, or than ours: a changed value would still have
# its source beside it.
AS_PUBLISHED = {
    "ovis": {
        "nouns.source": "labels",
        "activation_map": {"union": "binary", "interpolation": "nearest", "others": 0.0, "power": 1.0},
        "select_boxes.method": "activation",
        "segment.method": "network",
        "text_embedder.model": "clip",
        "train_detector.background": "text",
        "train_detector.similarity": "dot",
        "train_detector.temperature": 1.0,
        "train_detector.positive_fraction": 1.0,
        "train_detector.trainable_layers": 3,
        "finetune_detector.batch": 8,
        "finetune_detector.lr": 0.0005,
        "finetune_detector.frozen": [],
    },
    "xpm": {
        "categories.wordnet": "/usr/share/wordnet",
        "text_embedder.model": "bert",
        "teacher_network.similarity": "dot",
        "teacher_network.trainable_layers": 3,
        "pretrain_captions.words": "all",
        "pretrain_captions.align": ["words", "regions"],
        "train_teacher.background": "zero",
        "train_teacher.frozen": ["embedding"],
        "train_student.frozen": ["backbone", "rpn"],
        "train_student.robust.eta": 0.01,
        "train_student.balanced": False,
    },
}


@pytest.mark.parametrize("under", ["coco", "openimages"])
@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_a_published_system_is_what_its_paper_says(under, name):
    config = load(CONFIG / f"{under}.yaml", CONFIG / f"{name}.yaml")
    assert {key: reduce(getitem, key.split("."), config) for key in AS_PUBLISHED[name]} == AS_PUBLISHED[name]


@pytest.mark.parametrize("name", ["coco", "openimages"])
def test_xpm_beside_mask_free_ovis_learns_by_what_its_paper_says(name):
    """All of it but names and vocabulary, which both systems share; and fine-tuning in the batches of the authors' code."""
    config = load(CONFIG / f"{name}.yaml")
    shared = {"categories", "text_embedder"}
    of_xpm = {key for key in AS_PUBLISHED["xpm"] if key.split(".")[0] not in shared} - {"train_student.robust.eta"}
    wanted = {key: AS_PUBLISHED["xpm"][key] for key in of_xpm} | {"finetune_detector.batch": 8}
    assert {key: reduce(getitem, key.split("."), config) for key in wanted} == wanted
