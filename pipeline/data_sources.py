"""The sources of a run's data set: `root` and `ingest` of the configuration, or each of `sources`, with its own root."""

from pathlib import Path
from typing import NamedTuple

from structures.addresses import Address, open_root
from structures.errors import UserError
from structures.roots import Root, Roots, placed

PARTS = ("train", "val", "captioned")


class Source(NamedTuple):
    """name: of one of several, else empty; key: of the section that has its parts; root: as the configuration has it; parts:
    {one of PARTS: its section}."""

    name: str
    key: str
    root: str
    parts: dict[str, dict]


def data_sources(config: dict) -> list[Source]:
    """The sources, in the order of the configuration."""
    sections = config["sources"]
    if not sections:
        return [Source("", "ingest", config["root"], {part: config["ingest"][part] for part in PARTS})]
    several = len(sections) > 1
    return [
        Source(section["name"] if several else "", f"sources.{i}", section["root"], {p: section[p] for p in PARTS})
        for i, section in enumerate(sections)
    ]


def data_set_root(config: dict) -> Root:
    """What the paths of the table `images` are relative to."""
    sources = data_sources(config)
    if len(sources) == 1:
        return opened(sources[0], config)
    return Roots({source.name: opened(source, config) for source in sources})


def opened(source: Source, config: dict) -> Path | Address:
    """The root of a source. Raises AddressError."""
    return open_root(source.root, config["cache"])


def source_of_key(key: str, config: dict) -> Source | None:
    """The source that has a parameter's dotted key; None of a key of another section."""
    return next((source for source in data_sources(config) if key.startswith(f"{source.key}.")), None)


def below_root(key: str, path: str, config: dict) -> Path | Address:
    """A file of the data set that the parameter `key` names: of a source's own parameter relative to its root, of another, of
    several sources, NAME/PATH. Raises UserError where it begins with no source's name, AddressError."""
    source = source_of_key(key, config)
    if source:
        return opened(source, config) / path
    try:
        root, path = placed(data_set_root(config), path)
    except KeyError:
        names = ", ".join(source.name for source in data_sources(config))
        raise UserError(f"{key} is {path}, wanted a source's name ({names}), a slash, and a file there") from None
    return root / path


def source_faults(config: dict) -> list[str]:
    """What is wrong with the sources of a configuration with its defaults, a line each."""
    sections = config["sources"]
    if not sections:
        return [] if config["root"] else ["'root' is a required property, or else 'sources', each with its own"]
    told = []
    if config["root"]:
        told.append(f"root is {config['root']!r}, but each of sources has its own: leave root out")
    for part in PARTS:
        if config["ingest"][part]["images"]:
            told.append(f"ingest.{part}.images is set, but sources are, too: make it a part of one of them")
    if config["toy"]["train"]:
        told.append("toy.train is set, but what is drawn is no one of sources: draw it with `python -m sources.toy`")
    names = [section["name"] for section in sections]
    for name in sorted({name for name in names if names.count(name) > 1}):
        told.append(f"sources: {names.count(name)} are called {name!r}; give each its own name")
    for i, section in enumerate(sections):
        if not any(section[part]["images"] for part in PARTS):
            told.append(f"sources.{i}: the source {section['name']!r} has no part with images ({', '.join(PARTS)})")
    return told


def has_instances(config: dict, part: str) -> bool:
    """Whether a part of the data set has outlined objects."""
    return any(source.parts[part]["instances"] for source in data_sources(config))
