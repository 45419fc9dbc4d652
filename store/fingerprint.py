"""What code does, as one hash: of modules and all project modules that they import, without comments or layout."""

import ast
import hashlib
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = tuple(sorted(file.parent.name for file in ROOT.glob("*/__init__.py")))
_PARSER = (
    threading.Lock()
)  # Python 3.11 counts the depth of its syntax trees once for all threads, and stumbles over it


def _module_files(name: str) -> list[Path]:
    """The files that importing a dotted name runs: the module and the packages above it."""
    parts = name.split(".")
    files = [ROOT.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    files.append(ROOT.joinpath(*parts).with_suffix(".py"))
    return [file for file in files if file.is_file()]


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]


def _imports(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ROOMS}


@cache
def _parsed(file: Path) -> tuple[str, frozenset[str]]:
    """A file's code as text without comments and docstrings, and the project names that it imports."""
    with _PARSER:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports = _imports(tree)
    _strip_docstrings(tree)
    return ast.dump(tree), frozenset(imports)


def imported_files(module: str) -> list[Path]:
    """All project files that importing a module runs, the module included, sorted.

    What is imported by a name from the configuration is not among them; fingerprint takes such modules as well.
    """
    files: set[Path] = set()
    waiting = [module]
    while waiting:
        for file in _module_files(waiting.pop()):
            if file not in files:
                files.add(file)
                waiting += _parsed(file)[1]
    return sorted(files)


def fingerprint(*modules: str, without: tuple[str, ...] = ()) -> str:
    """sha256 over the code of modules and of every project module that they import, transitively.

    without: modules whose own code does not count (what they import does). Comments, docstrings and white space don't count.
    Raises ModuleNotFoundError where there is no such module.
    """
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        if not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
            raise ModuleNotFoundError(f"no module {module} under {ROOT}")
    left_out = {ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in without}
    files = sorted({file for module in modules for file in imported_files(module)} - left_out)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\n{_parsed(file)[0]}\n".encode())
    return digest.hexdigest()
