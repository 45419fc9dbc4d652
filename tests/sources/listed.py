"""A reader of many pictures as tests look at it: its pictures read, as the stage does first, and kept."""

from collections.abc import Callable

from sources.part import Fault, Missing, Part


def listed(read_part: Callable[..., Part]) -> Callable[..., Part]:
    """The reader, whose part has its pictures as a dict, and all faults but of those `missing`."""

    def read(*args) -> Part:
        part = read_part(*args)
        items = list(part.pictures())
        part.images = dict(item for item in items if not isinstance(item, Fault))
        part.faults = [item for item in items if isinstance(item, Fault) and not isinstance(item, Missing)]
        part.missing = [item for item in items if isinstance(item, Missing)]
        return part

    return read
