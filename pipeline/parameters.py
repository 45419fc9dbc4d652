"""What a stage's parameters are under a configuration: its own section and what it shares, methods not chosen left out.

Keywords of the schema say what a parameter is besides its type: `file`, it names a file, whose content and not name
counts (`below: root`, inside the data set's folder); `module`, it names a file of that room; `neutral`, it changes no
result; of a method's sub-section `random`, the method draws random numbers. An object named as a value of its
neighbour's enum is that value's sub-section: {method: grabcut, grabcut: {…}, network: {…}}; of a list of such values, too.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import section_schema
from pipeline.data_sources import below_root
from pipeline.stage import Stage
from schemas.tables import CURVE, REJECTS, TABLES
from store.blobs import canonical_json
from store.fingerprint import fingerprint
from structures.addresses import Address


class Parameter(NamedTuple):
    """A parameter: its dotted key in the configuration, its value, its rules of the schema."""

    key: str
    value: Any
    rules: dict


def chosen(section: dict, rules: dict) -> dict:
    """A section without the sub-sections of methods that it does not choose."""
    properties = rules.get("properties", {})
    choices = {
        value: name
        for name, rule in properties.items()
        for value in rule.get("enum", rule.get("items", {}).get("enum", ()))
        if properties.get(value, {}).get("type") == "object"
    }
    return {
        name: chosen(value, properties.get(name, {})) if isinstance(value, dict) else value
        for name, value in section.items()
        if name not in choices or name in _as_list(section.get(choices[name]))
    }


def _as_list(value: Any) -> list:
    """A choice, or each of several."""
    return value if isinstance(value, list) else [value]


def sections(stage: Stage, config: dict) -> dict[str, Any]:
    """{section: its chosen part} of a stage's own section and of what it shares; of a shared `section.key` that key."""
    parts: dict[str, Any] = {stage.name: config.get(stage.name, {})}
    for path in stage.shares:
        name, _, key = path.partition(".")
        if not key:
            parts[name] = config[name]
        else:
            parts.setdefault(name, {})[key] = config[name][key]
    return {
        name: chosen(part, section_schema(name)) if isinstance(part, dict) else part for name, part in parts.items()
    }


def parameters(stage: Stage, config: dict) -> Iterator[Parameter]:
    """Every parameter of a stage under a configuration."""
    for name, part in sections(stage, config).items():
        yield from _flat(name, part, section_schema(name))


def _flat(key: str, value: Any, rules: dict) -> Iterator[Parameter]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(f"{key}.{name}", item, rules.get("properties", {}).get(name, {}))
    elif "properties" in rules.get("items", {}):
        for i, item in enumerate(value):
            yield from _flat(f"{key}.{i}", item, rules["items"])
    else:
        yield Parameter(key, value, rules)


def params_in_key(stage: Stage, config: dict) -> dict[str, Any]:
    """{dotted key: value} of what a result depends on: without files, which count by content, and neutral
    parameters."""
    counted = {
        parameter.key.removeprefix(f"{stage.name}."): parameter.value
        for parameter in parameters(stage, config)
        if "file" not in parameter.rules and not parameter.rules.get("neutral")
    }
    return counted | {name: json.dumps(record, sort_keys=True) for name, record in records(stage, config).items()}


def records(stage: Stage, config: dict) -> dict[str, dict]:
    """{section: its chosen part} of what a stage writes into its checkpoint as it is."""
    return {name: chosen(config[name], section_schema(name)) for name in stage.records}


def file_parameters(stage: Stage, config: dict) -> list[Parameter]:
    """The parameters that name a file and are set."""
    return [parameter for parameter in parameters(stage, config) if "file" in parameter.rules and parameter.value]


def draws_random_numbers(stage: Stage, config: dict) -> bool:
    """Whether the seed counts: as the stage declares, or as the schema says of a method that is chosen."""
    if stage.random(config) if callable(stage.random) else stage.random:
        return True
    return any(_is_random(part, section_schema(name)) for name, part in sections(stage, config).items())


def _is_random(part: Any, rules: dict) -> bool:
    if not isinstance(part, dict):
        return False
    properties = rules.get("properties", {})
    return bool(rules.get("random")) or any(_is_random(value, properties.get(name, {})) for name, value in part.items())


TELLS = ("pipeline.arguments", "pipeline.logs", "structures.progress")  # what people read; parameters are in the key


def code_modules(stage: Stage, config: dict) -> list[str]:
    """A stage's script, and the modules that its parameters choose by name."""
    chosen_modules = {
        f"{parameter.rules['module']}.{name}"
        for parameter in parameters(stage, config)
        if "module" in parameter.rules and parameter.value
        for name in _as_list(parameter.value)
    }
    return [f"stages.{stage.name}", *sorted(chosen_modules)]


def code_fingerprint(stage: Stage, config: dict) -> str:
    """The fingerprint of a stage's code, with that of the modules that its parameters choose by name, and of the tables
    that it reads and writes: those of other stages change nothing, so that a new stage reruns none of the old ones."""
    code = fingerprint(*code_modules(stage, config), without=("schemas.tables", *TELLS))
    tables = [
        TABLES[name] for name in (*stage.artifacts, *stage.artifacts_of_round_before, *stage.writes) if name in TABLES
    ]
    rules = [[table.stage, table.key, table.per, table.row_group, _columns(table.schema)] for table in tables]
    return hashlib.sha256(canonical_json([code, rules, _columns(REJECTS), _columns(CURVE)]).encode()).hexdigest()


def _columns(schema: pa.Schema) -> str:
    return schema.to_string(truncate_metadata=False)


def file_path(parameter: Parameter, config: dict) -> Path | Address | None:
    """The path of a file inside the data set's folder; None for one that lies elsewhere."""
    if parameter.rules.get("below") != "root":
        return None
    return below_root(parameter.key, parameter.value, config)


def model_options(section: dict, weights: Path, tokens: Path | None) -> dict:
    """The arguments of models.vision_language.interface's functions, of a section vision_language or text_embedder."""
    common = {name: section[name] for name in ("image_size", "max_tokens", "precision") if name in section}
    return {
        "name": section["model"],
        "weights": weights,
        "tokens": tokens,
        **common,
        **section.get(section["model"], {}),
    }
