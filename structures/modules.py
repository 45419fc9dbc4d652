"""Choices by name: which files of a folder offer a function, so that a method, a model or a reader is one file."""

import ast
from pathlib import Path


def modules_with(function: str, folder: Path) -> list[str]:
    """The names, sorted, of the modules in a folder that define a function of that name; none of them is imported."""
    return sorted(file.stem for file in folder.glob("*.py") if _defines(function, file))


def _defines(function: str, file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8"), filename=str(file)).body
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in body)
