"""A fork of the preloaded Python is to whoever asks for it what an interpreter of its own would be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import preloaded
from tests.conftest import forked, preloaded_python

PROBE = """
import json, os, signal, sys, time
import numpy as np

assert __name__ == "__main__" and __spec__.name == "probe"
if sys.argv[1:] == ["wait"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(os.getpid(), flush=True)
    time.sleep(60)
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["PROBE"], np.random.random()]), flush=True)
print("told", file=sys.stderr)
import atexit
atexit.register(print, "last")
{end}
"""


def probe(folder: Path, end: str, *arguments: str) -> tuple[int, str]:
    (folder / "probe.py").write_text(PROBE.replace("{end}", end))
    return forked(["probe", *arguments], folder, os.environ | {"PROBE": "é"})


@pytest.mark.parametrize(
    ("end", "status", "told"),
    [
        ("", 0, "last"),
        ("sys.exit(3)", 3, "last"),
        ("sys.exit('one line')", 1, "one line\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "told"),
    ],
)
def test_its_status_and_its_words_are_those_of_an_interpreter(tmp_path, end, status, told):
    code, said = probe(tmp_path, end)
    assert code == status and told in said and "told\n" in said
    done = subprocess.run(
        [sys.executable, "-m", "probe"],
        cwd=tmp_path,
        env=os.environ | {"PROBE": "é"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == status and told in done.stdout.decode()


def test_its_arguments_folder_and_environment_are_the_askers_and_its_random_numbers_its_own(tmp_path):
    (tmp_path / "an odd 'name").mkdir()
    [one, other] = [probe(tmp_path / "an odd 'name", "", "--a", "b c")[1].splitlines()[0] for _ in range(2)]
    assert one.startswith('[["--a", "b c"], ') and "an odd 'name" in one and '"\\u00e9"' in one
    assert one != other


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_asker_ends_it(tmp_path, number):
    preloaded_python()
    (tmp_path / "probe.py").write_text(PROBE)
    command = [sys.executable, preloaded.__file__, os.environ[preloaded.VARIABLE], "-m", "probe", "wait"]
    asker = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    process = int(asker.stdout.readline())
    asker.send_signal(number)
    assert asker.wait() == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    until = time.monotonic() + 60
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_no_module_is_done_by_an_interpreter_of_its_own():
    preloaded_python()
    command = [
        sys.executable,
        preloaded.__file__,
        os.environ[preloaded.VARIABLE],
        "-c",
        "import sys; print(*sys.modules)",
    ]
    assert "torch" not in subprocess.check_output(command, text=True).split()
