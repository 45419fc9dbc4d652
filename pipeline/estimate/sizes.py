"""How many pictures, captions and pairs a data set has: from its tables, or from what of its files is counted in seconds.

Counted are the lists of JSON files as COCO's, the lines of CSV, TSV and JSON-lines files, the rows of Parquet files, the files of a
folder, and the logs that img2dataset writes beside its tars. Nothing is decoded.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data_sources import PARTS, data_sources, opened
from pipeline.estimate.measured import sizes_of
from pipeline.estimate.work import Sizes
from store.blobs import file_digest
from store.manifest import Run
from structures.addresses import Address
from structures.errors import UserError
from structures.remote import AddressError

_PAIRS_A_CAPTION = 340_000 / 591_753  # COCO's 65 categories (docs/scale.md)
_NOT_COUNTED = "not counted, so that all below is too little; tell them"
_CAPTIONS_A_SCENE = 2  # of the drawn data set
_PHOTOGRAPH, _SCENE = 640 * 480, 192 * 144  # pixels
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_LISTS = ("coco", "lvis", "objects365")  # formats whose instances list the pictures
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_SAMPLES_A_TAR = 10_000  # as img2dataset writes them, where it left no log


@dataclass(frozen=True)
class Counted:
    """Sizes, and in words where each of them is from."""

    sizes: Sizes
    told: tuple[str, ...]


def count(config: dict, data: Path, *, ingested: bool, given: dict[str, int | None]) -> Counted:
    """The sizes of a configuration's data set. ingested: its tables are those of the configuration, as they are;
    given: images, val_images, captions, pairs that somebody tells, which go before what is counted.

    Raises UserError where neither says how many pictures there are.
    """
    told = []
    sizes = _of_tables(config, data) if ingested else None
    if sizes:
        told.append(f"pictures and captions: the tables of the run {config['run']}")
    else:
        sizes, how = _of_files(config)
        told += how
    named = {"images": "train", "val_images": "val", "captions": "captions", "pairs": "pairs"}
    sizes = replace(sizes, **{named[name]: float(value) for name, value in given.items() if value is not None})
    told = [
        line for line in told if _NOT_COUNTED not in line or not given.get("val_images" if "val:" in line else "images")
    ]
    told += [f"{name.replace('_', ' ')}: given" for name, value in given.items() if value is not None]
    if not sizes.train:
        raise UserError(
            f"how many pictures {config['root'] or 'the data set'} has can't be counted (none of its files that say so are there): tell it with "
            "--images, --val-images and --captions"
        )
    if not sizes.pairs:
        ratio, of = _pairs_a_caption(config, data)
        share = sizes.train / (sizes.train + sizes.val) if sizes.val and not given.get("captions") else 1.0
        captions = sizes.captions * share or sizes.train
        sizes = replace(sizes, pairs=captions * ratio)
        told.append(f"pairs (picture, noun): {ratio:.2f} a training caption, as {of}")
    return Counted(replace(sizes, labels=sizes.labels or sizes.pairs), tuple(told))


def _of_tables(config: dict, data: Path) -> Sizes | None:
    """The sizes that ingest, and gradcam where it is done for all shards, wrote; None without the tables."""
    run = Run(data, config["run"])
    manifest = run.read_manifest("ingest", "all")
    if manifest is None:
        return None
    sizes = sizes_of(data, manifest)
    if not sizes.train:
        return None
    pairs = [run.read_manifest("gradcam", str(shard)) for shard in range(config["shards"])]
    done = sum(sizes_of(data, of).pairs for of in pairs) if all(pairs) else 0
    captions = manifest.counts["rows_out"].get("captions") or manifest.counts["rows_out"].get("labels", 0)
    return replace(sizes, captions=captions, pairs=done, labels=done)


def _pairs_a_caption(config: dict, data: Path) -> tuple[float, str]:
    """How many pairs a caption of a training picture gives: in this run, or another, or in COCO."""
    own = config["run"]
    runs = sorted({folder.name for folder in (data / "runs").glob("*") if (folder / "manifests/gradcam").is_dir()})
    for name in sorted(runs, key=lambda run: (run != own, run)):
        try:
            maps = [manifest for manifest in Run(data, name).manifests() if manifest.stage == "gradcam"]
            ingested = Run(data, name).read_manifest("ingest", "all")
        except (UserError, OSError):
            continue
        sizes = sizes_of(data, ingested) if ingested else Sizes()
        pairs, captions = sum(manifest.counts["rows_out"].get("gradcam", 0) for manifest in maps), sizes.captions
        if pairs and captions and sizes.train and _same_vocabulary(config, data, name):
            return pairs / (captions * sizes.train / (sizes.train + sizes.val)), f"in the run {name}"
    return _PAIRS_A_CAPTION, "in COCO"


def _same_vocabulary(config: dict, data: Path, run: str) -> bool:
    """Whether a run of the same data set, or names of the same file, made it."""
    if run == config["run"]:
        return True
    manifest = Run(data, run).read_manifest("categories", "all")
    try:
        return bool(manifest) and file_digest(Path(config["vocabulary"])) in manifest.files.values()
    except OSError:
        return False


def _of_files(config: dict) -> tuple[Sizes, list[str]]:
    """The sizes that can be counted, and how; 0 where nothing can be."""
    toy = config["toy"]
    if toy["train"]:
        scenes = toy["train"] + toy["val"]
        sizes = Sizes(train=toy["train"], val=toy["val"], captions=scenes * _CAPTIONS_A_SCENE, pixels=_SCENE)
        return sizes, ["pictures and captions: those that are drawn"]
    told, images, captions = [], dict.fromkeys(PARTS, 0), 0
    for source in data_sources(config):
        for name, part in source.parts.items():
            if part["images"]:
                of_part, texts, how = _of_part(opened(source, config), part)
                images[name] += of_part
                captions += texts
                label = f"{source.name}/{name}" if source.name else name
                told.append(f"pictures of {label}: {how or _NOT_COUNTED}")
    train, val = images["train"] + images["captioned"], images["val"]
    if not val:
        val = round((images["train"] or train) * config["ingest"]["holdout"])
        train -= val
    return Sizes(train=train, val=val, captions=captions, pixels=_PHOTOGRAPH), told


def _of_part(root: Path | Address, part: dict) -> tuple[int, int, str]:
    """(pictures, captions, how they were counted) of one part of a data set; of one at an address what the list of its files
    says, nothing where there is none."""
    paths = (part[name] for name in ("images", "instances", "captions", "tars", "parquet"))
    if any(Path(path).is_absolute() or ".." in Path(path).parts for path in paths):
        return 0, 0, ""  # ingest refuses what leads out of the data set's folder
    try:
        if part["format"] == "webdataset":
            pictures, how = _in_tars(root / part["images"], part["tars"])
            return pictures, pictures, how
        if part["format"] == "huggingface":
            return _in_parquet(root / part["images"], part)
        if isinstance(root, Address):
            pictures = sum(name.lower().endswith(_PICTURES) for name in (root / part["images"]).files())
            return pictures, 0, "the files at the address" if pictures else ""
    except AddressError:
        return 0, 0, ""
    return _of_pictures(root, part)


def _of_pictures(root: Path, part: dict) -> tuple[int, int, str]:
    """The same of a folder of pictures and the lists beside it."""
    captions = root / part["captions"] if part["captions"] else None
    pictures, texts, how = 0, 0, ""
    if captions and captions.is_file():
        if part["format"] == "coco":
            pictures, texts = _coco(captions)
            how = f"the list of {captions.name}"
        else:
            texts = _words(captions, b'"caption"') if part["format"] == "lvis" else _rows(captions)
    if part["instances"] and part["format"] in _LISTS and not pictures:
        pictures, how = _words(root / part["instances"], b'"width"'), f"the list of {Path(part['instances']).name}"
    if not pictures:
        pictures, how = _files_in(root / part["images"]), "the files of the folder"
    return pictures, texts, how if pictures else ""


def _words(file: Path, word: bytes) -> int:
    """How often a key stands in a JSON file, which is too large to be parsed for it: "width" once an image."""
    try:
        with file.open("rb") as stream:
            total, end = 0, b""
            while chunk := stream.read(1 << 20):
                total += (end + chunk).count(word)
                end = (end + chunk)[-len(word) + 1 :]
        return total
    except OSError:
        return 0


def _in_parquet(folder: Path | Address, part: dict) -> tuple[int, int, str]:
    """(pictures, captions, how) of a hub's files: their rows, where they lie on disk; a caption a row of each column."""
    files = list(folder.glob(part["parquet"])) if isinstance(folder, Path) else []
    rows = sum(_rows(file) for file in files)
    return rows, rows * len(part["caption_columns"]), f"the rows of {len(files)} Parquet files" if rows else ""


def _coco(file: Path) -> tuple[int, int]:
    """How many images and captions a COCO file lists; none where it is no such file (ingest says why)."""
    try:
        content = json.loads(file.read_bytes())
        return len(content["images"]), len(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, 0


def _rows(file: Path) -> int:
    """Rows of a CSV, TSV, JSON-lines or Parquet file: lines, less a heading."""
    try:
        if file.suffix == ".parquet":
            return pq.read_metadata(file).num_rows
        with file.open("rb") as lines:
            total = sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))
    except (OSError, ValueError):
        return 0
    return max(0, total - (file.suffix.lower() in (".csv", ".tsv")))


def _files_in(folder: Path) -> int:
    """Pictures in a folder and in those below it, by their names."""
    try:
        with os.scandir(folder) as entries:
            return sum(
                _files_in(Path(entry.path))
                if entry.is_dir(follow_symlinks=False)
                else entry.name.lower().endswith(_PICTURES)
                for entry in entries
            )
    except OSError:
        return 0


def _in_tars(folder: Path | Address, pattern: str) -> tuple[int, str]:
    """Pictures in the tars of a pattern: as img2dataset's logs beside them say, or as many as it usually writes into one."""
    is_wanted = _fits(pattern)
    tars = [tar for tar in folder.glob(_RANGE.sub("*", pattern)) if is_wanted(str(tar.relative_to(folder)))]
    logs = [tar.with_name(f"{tar.stem}_stats.json") for tar in tars] if isinstance(folder, Path) else []
    fetched = [_successes(file) for file in logs]
    if fetched and all(count is not None for count in fetched):
        return sum(fetched), f"the logs of {len(fetched)} tars"
    return len(tars) * _SAMPLES_A_TAR, f"{len(tars)} tars of {_SAMPLES_A_TAR:,}, for there are no logs" if tars else ""


def _fits(pattern: str) -> Callable[[str], bool]:
    """Whether a path that fits a pattern with * for each {00000..00331} has numbers of these ranges there."""
    ranges = [(int(first), int(last)) for first, last in _RANGE.findall(pattern)]
    literal = [
        re.escape(text).replace(r"\*", ".*").replace(r"\?", ".") for text in _RANGE.sub("\0", pattern).split("\0")
    ]
    match = re.compile(r"(\d+)".join(literal)).fullmatch if ranges else None

    def fits(path: str) -> bool:
        found = match(path) if match else None
        return not ranges or bool(found and all(a <= int(n) <= b for n, (a, b) in zip(found.groups(), ranges)))

    return fits


def _successes(log: Path) -> int | None:
    try:
        return int(json.loads(log.read_bytes())["successes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
