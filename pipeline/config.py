"""The configuration: read, filled with defaults, checked against schemas/config.schema.yaml before anything runs."""

import difflib
import re
from functools import cache
from pathlib import Path

import jsonschema
import yaml

from pipeline.config_file import LOADER, ConfigError, faults, read_yaml, shown
from pipeline.data_sources import has_instances, source_faults
from store.fingerprint import ROOT

SCHEMA_FILE = ROOT / "schemas" / "config.schema.yaml"
_MOST_TOLD = 20  # faults
_LONGEST = 10_000  # characters of a flag's value
_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")  # 1e-3 is text to YAML, which wants 1.0e-3


@cache
def schema() -> dict:
    """The JSON schema of the whole configuration."""
    return yaml.load(SCHEMA_FILE.read_text(encoding="utf-8"), LOADER)


def section_schema(name: str) -> dict:
    """The JSON schema of a section, or of a key at the top; an empty object where a stage has no parameters."""
    return schema()["properties"].get(name, {"type": "object", "properties": {}})


def _with_defaults(value, rules: dict):
    if rules.get("type") == "object" and isinstance(value, dict):
        filled = dict(value)
        for key, rule in rules.get("properties", {}).items():
            if key in filled:
                filled[key] = _with_defaults(filled[key], rule)
            elif "default" in rule:
                filled[key] = rule["default"]
            elif rule.get("type") == "object":
                filled[key] = _with_defaults({}, rule)
        return filled
    if isinstance(value, list) and "properties" in rules.get("items", {}):
        return [_with_defaults(item, rules["items"]) for item in value]
    return value


def _typed(value, rules: dict):
    """`snakemake --config` hands every value over as text: read those that the schema wants as something else."""
    if isinstance(value, dict):
        properties = rules.get("properties", {})
        return {key: _typed(item, properties.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, rules.get("items", {})) for item in value]
    if isinstance(value, str) and rules.get("type") in ("integer", "number", "boolean", "array"):
        if rules["type"] == "number" and _EXPONENT.match(value):
            return float(value)
        try:
            parsed = yaml.safe_load(value) if len(value) < _LONGEST else value
        except (yaml.YAMLError, ValueError, RecursionError):
            return value
        return _typed(parsed, rules) if isinstance(parsed, list) else parsed
    if isinstance(value, float) and rules.get("type") == "integer" and value.is_integer():
        return int(value)  # 3.0 is an integer to JSON schema, and to no loop
    return value


def _explain(error: jsonschema.ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        lines = []
        for key in sorted(set(error.instance) - set(known), key=str):
            name = f"{place}.{key}" if place else str(key)
            lines.append(f"unknown key {shown(name)[1:-1]}: {_hint(str(key), place, known)}")
        return "; ".join(lines)
    if error.validator == "required":
        return f"{place + ': ' if place else ''}{error.message}"
    if error.validator == "uniqueItems":
        return f"{place} is {shown(error.instance)}, wanted each once"
    meaning = error.schema.get("description", "")
    allowed = {
        "type": "of type",
        "enum": "one of",
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
        "minLength": "of a length of at least",
        "maxLength": "of a length of at most",
        "pattern": "like",
    }
    requirement = f"{allowed.get(error.validator, error.validator)} {error.validator_value}"
    return f"{place} is {shown(error.instance)}, wanted {requirement}" + (f" ({meaning})" if meaning else "")


def _hint(key: str, place: str, known: list[str]) -> str:
    """What an unknown key at a place may have been meant to be: below another section, or of another name."""
    elsewhere = [path for path in _all_keys() if path.rsplit(".", 1)[-1] == key]
    nearby = [path for path in elsewhere if place and path.startswith(f"{place}.")]
    if nearby or elsewhere:
        return f"there is {', '.join((nearby or elsewhere)[:4])}"
    similar = difflib.get_close_matches(key, known, 1)
    if similar:
        return f"did you mean {similar[0]}?"
    return f"known here: {', '.join(known)}"


@cache
def _all_keys() -> list[str]:
    def below(rules: dict, prefix: str):
        for name, rule in rules.get("properties", {}).items():
            yield prefix + name
            yield from below(rule, f"{prefix}{name}.")

    return list(below(schema(), ""))


def checked(config: dict) -> dict:
    """The configuration with defaults filled in. Raises ConfigError naming every bad key."""
    wrong = faults(config)
    if not wrong:
        config = _typed(config, schema())
        wrong = faults(config)  # of texts that are read as something else
    if wrong:
        raise ConfigError("config: " + "\n        ".join(wrong[:_MOST_TOLD]))
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise ConfigError("config: " + "\n        ".join(_explain(error) for error in errors[:_MOST_TOLD]))
    filled = _with_defaults(config, schema())
    if wrong := source_faults(filled):
        raise ConfigError("config: " + "\n        ".join(wrong[:_MOST_TOLD]))
    return filled


def has_ground_truth(config: dict) -> bool:
    """Whether the data set has ground truth to score detectors with."""
    return has_instances(config, "val")


def check_run_name(name: str, flag: str) -> None:
    """Raise ConfigError where a flag's value can't name a run."""
    rules = section_schema("run")
    if not re.search(rules["pattern"], name) or len(name) > rules["maxLength"]:
        raise ConfigError(f"{flag} is {shown(name)}, wanted {rules['description'].split(';')[0]}")


def load(path: Path, *overlays: Path) -> dict:
    """A configuration file with others laid over it, section by section, checked.

    Raises ConfigError where one is missing, no YAML, or the whole is wrong.
    """
    contents = []
    for file in (path, *overlays):
        contents.append(read_yaml(file, dict, "; name another with --configfile"))
        if contents[-1] is None:
            raise ConfigError(f"{file} holds no keys")
    if overlays:
        from snakemake.utils import update_config  # here: half a second, which one file does without

        for overlay in contents[1:]:
            update_config(contents[0], overlay)
    return checked(contents[0])
