"""Commands as a user types them, run as if a GPU were there."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Project

PRETEND_GPU = Path(__file__).with_name("pretend_gpu.py")
LIMIT = 400  # seconds; ten are ordinary


def on_gpu(project: Project, *command: str) -> tuple[str, int]:
    """What `python COMMAND` says in the project's folder with a pretended GPU, and the operations that the GPU did."""
    done = subprocess.run(
        [sys.executable, str(PRETEND_GPU), *map(str, command)],
        cwd=project.folder,
        env=Project._environment() | {"CUDA_VISIBLE_DEVICES": ""},  # no real GPU is waited for or used
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output, int(re.findall(r"operations on the pretended GPU: (\d+)", done.stderr)[-1])
