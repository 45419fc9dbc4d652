"""What is chosen by name: the schema's enum, the files of the room, and the parameters of each choice say the same."""

import ast

import pytest

from pipeline.config import schema
from store.fingerprint import ROOT
from structures.modules import modules_with

# {key: (function of the chosen file, the keyword-only arguments that every choice is given)}
CHOICES = {
    "vision_language.model": ("load", {"image_size", "max_tokens", "precision"}),
    "text_embedder.model": ("load_text", {"max_tokens", "precision"}),
    "select_boxes.method": ("choose", {"heights", "widths", "instances", "interpolation"}),
    "segment.method": ("outline", {"batch", "device"}),
    "ingest.train.format": ("read_part", set()),
    "ingest.val.format": ("read_part", set()),
    "ingest.captioned.format": ("read_part", set()),
    "export.formats": ("write", {"pictures"}),
}


def section_and_rules(key: str) -> tuple[dict, dict]:
    """The properties of the section that a key stands in, and the key's own rules."""
    *sections, name = key.split(".")
    properties = schema()["properties"]
    for section in sections:
        properties = properties[section]["properties"]
    return properties, properties[name]


def names_of(rules: dict) -> list[str]:
    """What a key chooses from, one or several of them."""
    return rules["enum"] if "enum" in rules else rules["items"]["enum"]


def keyword_only(file, function: str) -> set[str]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    [definition] = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == function]
    return {argument.arg for argument in definition.args.kwonlyargs}


def keys_of_choices(properties: dict, prefix: str = ""):
    for name, rules in properties.items():
        if "module" in rules:
            yield prefix + name
        yield from keys_of_choices(rules.get("properties", {}), f"{prefix}{name}.")


def test_every_choice_of_a_file_is_known_here():
    assert set(keys_of_choices(schema()["properties"])) == CHOICES.keys()


@pytest.mark.parametrize("key", CHOICES)
def test_the_enum_names_the_files_that_there_are(key):
    _, rules = section_and_rules(key)
    folder = ROOT.joinpath(*rules["module"].split("."))
    assert sorted(names_of(rules)) == modules_with(CHOICES[key][0], folder)


@pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key in CHOICES for name in names_of(section_and_rules(key)[1])], ids="-".join
)
def test_the_parameters_of_a_choice_are_those_of_its_function(key, name):
    """What a file's function takes besides what each is given is the sub-section of its name, and nothing else is."""
    properties, rules = section_and_rules(key)
    function, given = CHOICES[key]
    file = ROOT.joinpath(*rules["module"].split("."), f"{name}.py")
    assert keyword_only(file, function) - given == properties.get(name, {}).get("properties", {}).keys()
