"""The configuration: read, filled with defaults, and checked against schemas/config.schema.yaml before anything runs."""

import difflib
from functools import cache
from pathlib import Path

import jsonschema
import yaml

from store.fingerprint import ROOT
from structures.errors import UserError

SCHEMA_FILE = ROOT / "schemas" / "config.schema.yaml"


class ConfigError(UserError):
    """A key that does not exist, or a value of the wrong type or range."""


@cache
def schema() -> dict:
    """The JSON schema of the whole configuration."""
    return yaml.load(SCHEMA_FILE.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def section_schema(stage: str) -> dict:
    """The JSON schema of one stage's section; empty where it has no parameters."""
    return schema()["properties"].get(stage, {"type": "object", "properties": {}})


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
    return value


def _typed(value, rules: dict):
    """`snakemake --config` hands every value over as text: read those that the schema wants as something else."""
    if isinstance(value, dict):
        properties = rules.get("properties", {})
        return {key: _typed(item, properties.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, rules.get("items", {})) for item in value]
    if isinstance(value, str) and rules.get("type") in ("integer", "number", "boolean", "array"):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


def _explain(error: jsonschema.ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        lines = []
        for key in sorted(set(error.instance) - set(known)):
            name = f"{place}.{key}" if place else key
            meant = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {meant[0]}?" if meant else f"known here: {', '.join(known)}"
            lines.append(f"unknown key {name}: {hint}")
        return "; ".join(lines)
    if error.validator == "required":
        return f"{place + ': ' if place else ''}{error.message}"
    meaning = error.schema.get("description", "")
    allowed = {
        "type": "of type",
        "enum": "one of",
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
    }
    wanted = f"{allowed.get(error.validator, error.validator)} {error.validator_value}"
    return f"{place} is {error.instance!r}, wanted {wanted}" + (f" ({meaning})" if meaning else "")


def checked(config: dict) -> dict:
    """The configuration with defaults filled in. Raises ConfigError naming every bad key."""
    config = _typed(config, schema())
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise ConfigError("config: " + "\n        ".join(_explain(error) for error in errors))
    return _with_defaults(config, schema())


def detectors(config: dict) -> list[str]:
    """The stages that train a detector in this run: all but OVIS' first need base annotations."""
    drawn = config["ingest"]["train"]["instances"]
    known = {
        "train_detector": True,
        "finetune_detector": drawn and config["finetune_detector"]["steps"],
        "train_teacher": drawn,
        "train_student": drawn,
    }
    return [name for name in known if known[name] and name in config["detectors"]]


def leaves_out(config: dict, stage: str, artifact: str) -> bool:
    """Whether a stage does without one of its inputs under this configuration."""
    strategy = config["train_student"]["strategy"]
    noisy = "train_student" in detectors(config) and strategy in ("robust", "stochastic_bce")
    ovis = config["student_labels"]["labels"] != "xpm" or not set(detectors(config)) <= {
        "train_teacher",
        "train_student",
    }
    made = {
        ("evaluate", "label_metrics"): ovis,
        **{("report", table): ovis for table in ("gradcam", "wspn_proposals", "pseudo_boxes", "pseudo_masks")},
        ("propose", "train_wspn"): config["propose"]["by"] == "wspn",
        ("train_teacher", "pretrain_captions"): config["pretrain_captions"]["steps"] > 0,
        ("student_labels", "pseudo_masks"): config["student_labels"]["labels"] != "xpm",
        ("student_labels", "teacher_masks"): config["student_labels"]["labels"] != "ovis",
        ("evaluate", "label_noise"): noisy,
        ("evaluate", "student_labels"): noisy,
        ("report", "label_noise"): noisy,
        ("report", "student_labels"): noisy,
    }
    return not made.get((stage, artifact), True)


def is_measured(config: dict) -> bool:
    """Whether the data set has ground truth to score detectors with."""
    return bool(config["ingest"]["val"]["instances"])


def read_keys(file: Path, remedy: str = "") -> dict | None:
    """The keys of a YAML file, None where it is empty. Raises ConfigError where it is missing (and says the remedy), no
    YAML, or holds something else."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}{remedy}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{file} holds no keys")
    return content


def load(path: Path) -> dict:
    """A configuration file, checked. Raises ConfigError where it is missing, no YAML, or wrong."""
    config = read_keys(path, "; name another with --configfile")
    if config is None:
        raise ConfigError(f"{path} holds no keys")
    return checked(config)
