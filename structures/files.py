"""What makes changes of files last through a power cut."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder, and its new names, last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
