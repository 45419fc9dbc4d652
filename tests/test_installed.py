"""What is installed: lists of versions, the locks that are made from them, and the conda environment, all of one mind."""

import re

import pytest
import yaml

from store.fingerprint import ROOT

LOCKS = {
    "requirements.lock": ["requirements.txt"],
    "requirements-dev.lock": ["requirements.txt", "requirements-dev.txt"],
}
LOCKS["requirements-build.lock"] = []
locks = pytest.mark.parametrize("name", LOCKS)


def normal(name: str) -> str:
    """A package's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    """{package: version} of a list; every line pins one."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?==(\S+)", line) for line in lines]
    assert all(found), f"{name}: a line that is no package==version"
    return {normal(match[1]): match[2] for match in found}


def locked(name: str) -> dict[str, set[str]]:
    """{package: its versions} of a lock: several where markers choose. Every entry has digests."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.M).replace("\\\n", " ")
    versions: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = re.fullmatch(
            r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)(?: ; [^#]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line
        )
        assert match, f"{name}: {line[:80]}: no pinned package with digests"
        versions.setdefault(normal(match[1]), set()).add(match[2])
    return versions


@locks
def test_a_lock_holds_digests_and_nothing_of_the_machine_that_made_it(name):
    assert locked(name)
    text = (ROOT / name).read_text()
    assert not re.search(r"https?:|file:|^-|index-url|find-links| @ |/(opt|home|root|tmp|work)/", text, re.M)


@locks
def test_a_lock_holds_every_version_of_its_lists(name):
    for of_list in LOCKS[name]:
        for package, version in pins(of_list).items():
            assert locked(name).get(package) == {version}, f"{package}: make lock"


def test_the_locks_agree():
    run, development, build = (locked(f"requirements{part}.lock") for part in ("", "-dev", "-build"))
    assert run.items() <= development.items()
    assert build == {"setuptools": run["setuptools"]}
    assert len(run) > 100, "what the lists' packages need in turn, too"
    assert {"nvidia-cudnn-cu13", "tokenizers", "triton"} <= run.keys() and "pytest" not in run


def test_running_installs_no_test_and_no_linter():
    assert not {"pytest", "pytest-xdist", "ruff", "snakefmt"} & pins("requirements.txt").keys()
    assert not pins("requirements.txt").keys() & pins("requirements-dev.txt").keys()


def test_make_installs_the_locks_by_their_digests():
    text = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"\$\(INSTALL\) --requirement (\S+)", text)) == set(LOCKS)
    assert text.count("pip install") == 1 and "pip install --quiet --require-hashes" in text


def test_conda_and_pip_get_the_same_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [listed] = [item["pip"] for item in conda if isinstance(item, dict)]
    wanted = [(ROOT / f"requirements{part}.txt").read_text().splitlines() for part in ("", "-dev")]
    assert sorted(listed) == sorted(line for lines in wanted for line in lines if line and not line.startswith("#"))
