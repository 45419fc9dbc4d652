"""Where a data set's pictures lie: one folder, or one of each of its sources."""

from dataclasses import dataclass
from pathlib import Path

from structures.addresses import Address


@dataclass(frozen=True)
class Roots:
    """The folders of several sources by their names. The path of a picture is NAME/PATH, PATH relative to that folder."""

    folders: dict[str, Path | Address]


Root = Path | Address | Roots


def placed(root: Root, path: str) -> tuple[Path | Address, str]:
    """The folder that a picture's path is relative to, and that path. Raises KeyError where no source has its name."""
    if not isinstance(root, Roots):
        return root, path
    name, _, below = path.partition("/")
    return root.folders[name], below
