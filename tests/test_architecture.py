"""The rooms of docs/architecture.md: who imports whom, by statements and by strings; who sees ground truth; versions."""

import ast
import re
from pathlib import Path

import pytest

from pipeline.registry import stages
from schemas.tables import TABLES
from store.fingerprint import ROOT

SHARED = ("structures", "schemas")
SUB_ROOMS = ("vision_language", "grounding", "proposals", "masks", "detector", "xpm")  # each may import those before it
MAY_IMPORT = {
    "structures": (),
    "schemas": (),
    "models": ("models.backbones", "models.pixels"),
    "evaluation": ("evaluation",),
    "sources": ("sources",),
    "store": ("store",),
    "exports": ("exports",),
    "training": ("training", "sources"),
    "pipeline": ("pipeline", "store", "exports", "training.processes", "sources.images", "sources.vocabulary"),
    "stages": ("pipeline", "store", "models", "sources", "training", "evaluation", "exports"),
}
# What a room imports by a name that is put together: {file: where the names lead}.
BY_NAME = {
    "models/vision_language/interface.py": "models.vision_language.",
    "models/grounding/box_choice/interface.py": "models.grounding.box_choice.",
    "models/masks/interface.py": "models.masks.",
    "sources/readers.py": "sources.",
    "exports/writers.py": "exports.",
    "pipeline/registry.py": "stages.",
}
# Who knows where the code lies, and for what: to find code, or the schema, whose values are in the memo's key.
KNOW_THEIR_PLACE = {
    *BY_NAME,
    "pipeline/arguments.py",
    "pipeline/config.py",
    "pipeline/estimate/jobs.py",  # asks snakemake about the Snakefile
    "pipeline/estimate/shipped.py",  # of no stage: the shipped rates
    "pipeline/workflow.py",
    "store/fingerprint.py",
    "evaluation/gallery/page/__init__.py",  # reads the pages beside it, which are in its fingerprint
}
FOR_THE_SNAKEFILE = (
    "pipeline.workflow",
    "pipeline.paper_tables",
    "pipeline.scores",
    "pipeline.hand_out",
    "pipeline.estimate",
)
TRUTH = {
    "ingest",
    "evaluate_labels",
    "evaluate_proposals",
    "evaluate",
    "report",
    "gallery",
    "finetune_detector",
    "train_teacher",
    "train_student",
}
MODULES = sorted(file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py"))


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports, of `from a import b` both a and a.b."""
    names = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or '.'}.{alias.name}" for alias in node.names} | {node.module or "."}
    return names


def allowed(file: Path) -> tuple[str, ...]:
    """What a file may import of ours."""
    room, *inner = file.relative_to(ROOT).parts
    names = MAY_IMPORT[room] + (SHARED if room not in SHARED else (room,))
    if room == "models" and len(inner) > 1:
        names += tuple(f"models.{name}" for name in SUB_ROOMS[: SUB_ROOMS.index(inner[0]) + 1])
    return names


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def leads_to(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether a dotted name lies in one of the rooms, or is the package of a file that does."""
    return any(name == room or name.startswith(f"{room}.") or room.startswith(f"{name}.") for room in rooms)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(file):
    of_ours = {name for name in imported(file) if name.split(".")[0] in MAY_IMPORT}
    assert not {name for name in of_ours if not leads_to(name, allowed(file))}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_by_name_only_within_its_room(file):
    calls = [
        node.args[0]
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) in ("import_module", "__import__")
    ]
    path = str(file.relative_to(ROOT))
    assert bool(calls) == (path in BY_NAME), path
    for argument in calls:
        assert isinstance(argument, ast.JoinedStr), "a name that is put together has a visible beginning"
        assert argument.values[0].value == BY_NAME[path]


def unseen(tree: ast.Module) -> set[str]:
    """What of a module a fingerprint can't see: how it runs code, or reads files, that no import names."""
    found = set()
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            names = {source + alias.name for alias in node.names}
            renamed = {source + alias.name for alias in node.names if alias.asname and alias.name == "import_module"}
            loaders = ("importlib", "runpy", "pkgutil", "imp", "zipimport")
            harmless = {"importlib.import_module", "importlib.metadata", "pkgutil.iter_modules"}
            found |= {name for name in names if name.split(".")[0] in loaders and name not in harmless} | renamed
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            bare = isinstance(node, ast.Name)
            if name in ("__file__", "__loader__", "__spec__") or (name == "ROOT" and bare):
                found.add("place")
            elif (bare and name in ("exec", "eval", "compile", "__import__", "__builtins__")) or (
                name == "import_module" and id(node) not in called
            ):
                found.add(name)
    return found


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import importlib", "importlib"),
        ("from importlib import resources", "importlib.resources"),
        ("from importlib.util import spec_from_file_location", "importlib.util.spec_from_file_location"),
        ("from importlib import import_module as load", "importlib.import_module"),
        ("from importlib import import_module\nload = import_module", "import_module"),
        ("import runpy", "runpy"),
        ("exec(text)", "exec"),
        ("eval('1')", "eval"),
        ("open(__file__ + '.json')", "place"),
        ("from store.fingerprint import ROOT\nopen(ROOT / 'x')", "place"),
        ("import re\nfrom importlib import import_module\nre.compile('x')\nimport_module(f'a.{b}')", None),
    ],
)
def test_what_a_fingerprint_can_not_see_is_recognised(code, what):
    assert unseen(ast.parse(code)) == ({what} if what else set())


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_does_nothing_that_its_fingerprint_can_not_see(file):
    path = str(file.relative_to(ROOT))
    allowed = {"place"} if path in KNOW_THEIR_PLACE else set()
    allowed |= {"place"} if path == "training/processes.py" else set()  # the name of the module that is run
    assert unseen(parsed(file)) <= allowed


def test_no_text_names_a_file_of_the_repository():
    """A file that code reads by its path is not in its fingerprint; the configuration's files are, by their content."""
    for file in (file for file in MODULES if file.name != "__main__.py"):  # commands of people have defaults
        texts = {node.value for node in ast.walk(parsed(file)) if isinstance(node, ast.Constant)}
        paths = {text for text in texts if isinstance(text, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)+", text)}
        assert not {path for path in paths if (ROOT / path).is_file()}, file


def test_no_text_names_a_module_of_a_room_that_may_not_be_imported():
    """Names of modules in strings (of subprocesses, of loaders) keep to the walls as well."""
    dotted = re.compile(rf"^(?:{'|'.join(MAY_IMPORT)})(?:\.\w+)+$")
    for file in MODULES:
        texts = {node.value for node in ast.walk(parsed(file)) if isinstance(node, ast.Constant)}
        names = {text for text in texts if isinstance(text, str) and dotted.match(text)}
        modules = {name for name in names if (ROOT / (name.replace(".", "/") + ".py")).exists()}
        fingerprinted = {"pipeline.paper_tables", "sources.toy.__main__"} if file.name == "workflow.py" else set()
        assert not {name for name in modules - fingerprinted if not leads_to(name, allowed(file))}, file


def test_there_are_no_circles():
    names = {module(file) for file in MODULES}
    graph = {module(file): imported(file) & names for file in MODULES}
    graph["pipeline.stage"] -= {"pipeline.execute"}  # a declaration runs itself: imported when it does, and not before

    def reach(name, seen):
        for other in graph.get(name, ()):
            if other not in seen:
                seen.add(other)
                reach(other, seen)
        return seen

    assert [name for name in graph if name in reach(name, set())] == []


def test_a_stage_imports_nothing_slow_before_it_runs():
    """So that a memo hit takes a fraction of a second, and the workflow reads all declarations in another."""
    for name in stages():
        at_the_top = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
            for node in parsed(ROOT / "stages" / f"{name}.py").body
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert at_the_top <= {"logging", "functools", "collections.abc", "pipeline.stage", "pipeline.conditions"}, name


def test_no_stage_knows_the_workflow_or_another_stage():
    for file in (ROOT / "stages").glob("*.py"):
        assert not {
            name for name in imported(file) if leads_to(name, ("stages", *FOR_THE_SNAKEFILE)) and name != "pipeline"
        }


def test_no_mask_free_stage_reads_ground_truth():
    readers = {name for name, stage in stages().items() if "annotations" in stage.artifacts}
    assert readers, "somebody must measure"
    assert readers <= TRUTH
    for table in ("judged", "source_categories"):
        judges = {name for name, stage in stages().items() if table in stage.artifacts}
        assert judges == {"evaluate", "evaluate_labels", "gallery"}, "what is verified absent is for scores alone"
    labelled = {name for name, stage in stages().items() if "labels" in stage.artifacts}
    assert labelled == {"nouns", "categories"}, "labels stand for captions, and name categories; nothing else sees them"


def test_a_stage_asks_for_no_input_that_it_did_not_declare():
    for name, stage in stages().items():
        source = (ROOT / "stages" / f"{name}.py").read_text()
        asked = set(
            re.findall(r'job\.(?:rows|table|count|count_images|by_image|checkpoint|paths|has)\(\s*"(\w+)"', source)
        )
        assert asked <= {*stage.artifacts, *stage.artifacts_of_round_before}, name


def test_tables_are_values_and_nothing_else():
    """Each stage's fingerprint holds the tables that it reads and writes, not the code of schemas/tables.py."""
    body = parsed(ROOT / "schemas" / "tables.py").body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    [table] = [node for node in body if isinstance(node, ast.ClassDef)]
    assert defined == {"Table", "_schema"}
    assert all(isinstance(node, ast.AnnAssign | ast.Expr) for node in table.body)


def test_every_table_is_written_by_the_stage_that_says_so():
    for name, table in TABLES.items():
        stage = stages()[table.stage]
        files_of = {"scatter": ("shard", "run")}.get(stage.per, (stage.per,))
        assert name in stage.writes and table.per in files_of, name
    tables = {name for stage in stages().values() for name in stage.writes if name != stage.name}
    assert tables <= TABLES.keys()


def test_the_workflow_has_one_handler_of_its_start():
    """Of several, Snakemake silently keeps the last."""
    assert re.findall(r"^onstart:", (ROOT / "Snakefile").read_text(), re.M) == ["onstart:"]


def test_the_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 190


def test_shipped_weights_are_small():
    assert sum(file.stat().st_size for file in (ROOT / "data" / "weights").iterdir()) < 12 * 2**20
