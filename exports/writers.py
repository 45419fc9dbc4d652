"""Writers of labels by format: `formats: [NAME]` of the configuration is the file exports/NAME.py."""

from importlib import import_module
from pathlib import Path

from exports.labelled import Labelled
from structures.errors import UserError
from structures.modules import modules_with


def formats() -> list[str]:
    """The formats that there are."""
    return modules_with("write", Path(__file__).parent)


def write_format(name: str, folder: Path, data: Labelled, *, pictures: bool, **own) -> None:
    """Write labels in a format, write(folder, data, **own) of exports/NAME.py, into a folder that is there.

    pictures: whether copies of the pictures go along where the format refers to them (KEEPS_PICTURES of the module), into
    images/. Raises UserError for a format that is none, and where they don't, though one has no file of its own.
    """
    if name not in formats():
        raise UserError(f"format {name!r}: wanted one of {', '.join(formats())} (files of exports)")
    module = import_module(f"exports.{name}")
    if pictures and module.KEEPS_PICTURES:
        (folder / "images").mkdir(exist_ok=True)
        for number, image, _ in data.numbered():
            (folder / "images" / data.picture_name(number, image)).write_bytes(data.content(image))
    elif module.KEEPS_PICTURES:
        packed = next((image["path"] for image, _ in data.entries() if data.is_packed(image)), "")
        if packed:
            raise UserError(
                f"{name} needs copies of the pictures, for {packed} is no file that other tools can open: leave "
                "export.pictures true (or --no-pictures out)"
            )
    module.write(folder, data, pictures=pictures, **own)
