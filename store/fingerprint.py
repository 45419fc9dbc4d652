"""What code does, as one hash: of modules and all project modules that they import, without comments or layout; and which
libraries they import. The pages that lie in a package's folder, for browsers, are code of it, letter by letter.

Imports are read off the syntax tree. What is put together at run time is not in it: a module by a computed name, code in a
text, a file that a module reads beside itself. tests/test_architecture.py refuses these, but for the modules that a parameter
of the configuration chooses (pipeline.parameters adds them).
"""

import ast
import hashlib
import sys
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = tuple(sorted(file.parent.name for file in ROOT.glob("*/__init__.py")))
_PAGES = (".css", ".html", ".js")
_PARSER = (
    threading.Lock()
)  # Python 3.11 counts the depth of its syntax trees once for all threads, and stumbles over it


def _module_files(name: str) -> list[Path]:
    """The files that importing a dotted name runs: the module and the packages above it, with their pages."""
    parts = name.split(".")
    files = [ROOT.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    files.append(ROOT.joinpath(*parts).with_suffix(".py"))
    files = [file for file in files if file.is_file()]
    packages = [file.parent for file in files if file.name == "__init__.py"]
    return files + [page for folder in packages for page in sorted(folder.iterdir()) if page.suffix in _PAGES]


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


def _imports(tree: ast.AST, file: Path) -> set[str]:
    """The dotted names that a file imports, of `from a import b` both a and a.b, relative ones resolved."""
    package = list(file.relative_to(ROOT).parent.parts)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return names


@cache
def _parsed(file: Path) -> tuple[str, frozenset[str]]:
    """A file's code as text without comments and docstrings, and the dotted names that it imports; a page as it is."""
    if file.suffix in _PAGES:
        return file.read_text(encoding="utf-8"), frozenset()
    with _PARSER:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports = _imports(tree, file)
    _strip_docstrings(tree)
    return ast.dump(tree), frozenset(imports)


def imported_files(module: str, outside: tuple[str, ...] = ()) -> list[Path]:
    """All project files that importing a module runs, the module included, sorted; without those of the rooms `outside`,
    and what these import.

    What is imported by a name from the configuration is not among them; fingerprint takes such modules as well.
    """
    files: set[Path] = set()
    known, waiting = {module}, [module]
    while waiting:
        for file in _module_files(waiting.pop()):
            if file not in files and file.relative_to(ROOT).parts[0] not in outside:
                files.add(file)
                names = {name for name in _parsed(file)[1] if name.split(".")[0] in ROOMS} - known
                known |= names
                waiting += names
    return sorted(files)


def imported_libraries(*modules: str, outside: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> set[str]:
    """The libraries (their names in import statements, Python's own left out) that modules and the project modules that
    they import, transitively, import. outside: as for imported_files; without: as for fingerprint."""
    files = {file for module in modules for file in imported_files(module, outside)} - _files_of(without)
    names = {name.split(".")[0] for file in files for name in _parsed(file)[1]}
    return names - set(ROOMS) - set(sys.stdlib_module_names)


def fingerprint(*modules: str, without: tuple[str, ...] = ()) -> str:
    """sha256 over the code of modules and of every project module that they import, transitively.

    without: modules whose own code does not count (what they import does). Comments, docstrings and white space don't count.
    Raises ModuleNotFoundError where there is no such module.
    """
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        if not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
            raise ModuleNotFoundError(f"no module {module} under {ROOT}")
    files = sorted({file for module in modules for file in imported_files(module)} - _files_of(without))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\n{_parsed(file)[0]}\n".encode())
    return digest.hexdigest()


def _files_of(modules: tuple[str, ...]) -> set[Path]:
    return {ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in modules}
