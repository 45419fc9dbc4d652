"""Reader of WebDataset's tars (Aizman et al., 2019), as img2dataset writes them: of each key a picture and its caption.

A member's key is its name up to the first dot, and what stands behind that dot says what it is: 000000001.jpg, .txt, .json.
Beside each tar img2dataset keeps a Parquet file of the same name: which addresses it could fetch, and why not.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sources.images import resolve
from sources.part import Fault, Listed, Missing, Part, SourceError
from sources.tables import parquet_table
from sources.tars import IN_TAR, PICTURES, Member, kind_of, members
from structures.json_texts import parse_json
from structures.progress import progress

FAILURES = ("failed_to_download", "failed_to_resize", "failed_otherwise")  # the first two are img2dataset's words
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_TARS = 100_000  # that a range may spell out
_MOST_TEXT = 1 << 20  # bytes of a caption's member


class Sample(NamedTuple):
    """What a tar holds of one key: its picture, and all its members by what stands behind the dot."""

    image_id: str
    picture: Member
    files: dict[str, Member]


def read_part(root: Path, part, threads: int = 1) -> Part:
    """part.images: the folder of the tars; part.tars: their names in it, as *.tar, */*.tar or {00000..00331}.tar;
    part.caption_key: a key of the .json whose text (or list of texts) is the caption, empty for the .txt.

    Image ids are a tar's path without .tar, a slash and the key: train/00000/000000001. One tar's members are held at once.
    Raises SourceError for a tar that can't be read whole, or that has no Parquet file beside it where others do; the former
    while the pictures are read.
    """
    tars = _tars(root, part.images, part.tars)
    logged = [tar for tar in tars if _log(root, tar).exists()]
    if logged and len(logged) < len(tars):
        lacking = _log(root, min(set(tars) - set(logged)))
        raise SourceError(
            f"{lacking} is not there, though other tars have one: what could not be fetched is not known; fetch that tar again"
        )
    pictures = _pictures(root, part, tars, has_logs=bool(logged))
    return Part(pictures, _captions(root, tars, part.caption_key), ())


def _pictures(root: Path, part, tars: list[str], has_logs: bool) -> Iterator[Listed | Fault]:
    """The pictures of all tars, what in them can't be used, and what could not be fetched."""
    some, first = False, ""
    for tar in progress(tars, description="reading the headers of tars", unit="tar"):
        held = set()
        for sample in _samples(root, tar):
            held.add(sample.image_id)
            if isinstance(sample, Fault):
                first = first or f"; the first member that can't be used: {sample.detail}"
                yield sample
            else:
                some = True
                yield sample.image_id, (f"{tar}#{sample.picture.name}", None, None)
        if has_logs:
            yield from _unfetched(root, tar, held)
    if not some:
        raise SourceError(f"{root / part.images}: no tar of {part.tars} holds a picture that can be used{first}")


def _tars(root: Path, folder: str, pattern: str) -> list[str]:
    """The paths of the tars, relative to root, in order."""
    if pattern.startswith("/") or ".." in PurePosixPath(_RANGE.sub("", pattern)).parts:
        raise SourceError(f"ingest: tars {pattern!r} leads out of the folder of the tars; wanted a pattern as *.tar")
    found: dict[str, None] = {}
    for name in _spelled_out(pattern):
        here = sorted((root / folder).glob(name))
        packed = [file for suffix in _PACKED for file in (root / folder).glob(name.removesuffix(".tar") + suffix)]
        if packed:
            raise SourceError(
                f"{min(packed)} is compressed, and can't be read in place: unpack it with gunzip (or bunzip2, unxz, unzstd)"
            )
        if not here:
            raise SourceError(
                f"{root / folder} holds no {name}; set images to the folder of the tars, and tars to their names"
            )
        for tar in here:
            path = tar.relative_to(root).as_posix()
            if IN_TAR in path:
                raise SourceError(
                    f"{tar} has {IN_TAR} in its path, which stands between a tar and its member; rename it"
                )
            resolve(root, path)
            found[path] = None
    return sorted(found)


def _spelled_out(pattern: str) -> list[str]:
    """A pattern with {00000..00331} as its names, in order."""
    names = [pattern]
    while spelled := _RANGE.search(names[0]):
        first, last = int(spelled[1]), int(spelled[2])
        if not 0 < (last - first + 1) * len(names) <= _MOST_TARS:
            raise SourceError(f"ingest: tars {pattern!r} names none, or more than {_MOST_TARS}")
        width = len(spelled[1]) if spelled[1].startswith("0") else 0
        names = [_RANGE.sub(f"{i:0{width}d}", name, count=1) for name in names for i in range(first, last + 1)]
    return names


def _samples(root: Path, tar: str) -> Iterator[Sample | Fault]:
    """What a tar holds, key by key, or why a key or a member can't be used."""
    stem, files, left_out = tar.removesuffix(".tar"), {}, set()
    for member in members(root / tar):
        name = member.name.removeprefix("./")
        folder, _, own = name.rpartition("/")
        key, kind = f"{folder}/{own.partition('.')[0]}".lstrip("/"), kind_of(name)
        fault = None
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            fault = "bad_path", "a name leads nowhere but into its tar; pack it again from the folder of the pictures"
        elif own.startswith(".") or not kind:
            fault = "no_key", "wanted names as KEY.jpg, KEY.txt; leave it out of the tar"
        elif member.irregular:
            fault = (
                "no_regular_file",
                f"it is {member.irregular}, wanted a file; pack the file itself (tar --dereference)",
            )
        elif kind in files.get(key, ()):
            fault = "repeated_member", f"another .{kind} of this key stands before it; which is meant nobody knows"
        if fault:
            reason, detail = fault
            has_key = reason in ("no_regular_file", "repeated_member")
            left_out |= {key} if has_key else set()
            yield Fault(f"{stem}/{key if has_key else name}", reason, f"{root / tar}, member {member.name}: {detail}")
        else:
            files.setdefault(key, {})[kind] = member
    for key, of_key in files.items():
        pictures = [kind for kind in of_key if kind in PICTURES]
        if key in left_out:
            continue
        if len(pictures) == 1:
            yield Sample(f"{stem}/{key}", of_key[pictures[0]], of_key)
            continue
        names = ", ".join(member.name for member in of_key.values())
        reason = "several_pictures" if pictures else "no_picture"
        wanted = "wanted one picture" if pictures else f"none of them is a picture ({', '.join(PICTURES)})"
        yield Fault(f"{stem}/{key}", reason, f"{root / tar}, members {names}: {wanted} of a key")


def _log(root: Path, tar: str) -> Path:
    return (root / tar).with_suffix(".parquet")


def _unfetched(root: Path, tar: str, held: set[str]) -> Iterator[Fault]:
    """What img2dataset says it could not fetch, and where it and the tar, of which held are the image ids, disagree."""
    file = _log(root, tar)
    table = parquet_table(file, ("key", "url", "status", "error_message"))
    if not {"key", "status"} <= set(table.columns):
        raise SourceError(
            f"{file} has the columns {', '.join(table.columns)}; wanted key and status, as img2dataset writes them beside a "
            "tar; keep other tables elsewhere"
        )
    for where, row in table.rows():
        key, status = row["key"], row["status"]
        image_id = f"{tar.removesuffix('.tar')}/{key}"
        if not isinstance(key, str) or not isinstance(status, str):
            yield Fault(image_id, "bad_row", f"{file}, {where}: key is {key!r}, status {status!r}, wanted texts")
        elif status == "success":
            if image_id not in held:
                yield Fault(
                    image_id, "missing_image", f"{file}, {where}: {key} was fetched, but {tar} lacks it; fetch it again"
                )
        elif image_id in held:
            yield Fault(image_id, "bad_row", f"{file}, {where}: {key} is said to have {status}, but {tar} holds it")
        else:
            reason = status if status in FAILURES else "failed_otherwise"
            yield Missing(image_id, reason, f"{row.get('url')}: {status}, {row.get('error_message')} ({file}, {where})")


def _captions(root: Path, tars: list[str], caption_key: str) -> Iterator[dict | Fault]:
    """The captions of all pictures, a tar after the other, or why one has none."""
    for tar in tars:
        with (root / tar).open("rb") as stream:
            for sample in _samples(root, tar):
                if isinstance(sample, Fault):
                    continue
                where = f"{root / tar}, {sample.picture.name}"
                member = sample.files.get("json" if caption_key else "txt")
                if member is None:
                    detail = f"{where}: no {'.json' if caption_key else '.txt'} of this key holds its caption"
                    yield Fault(sample.image_id, "no_caption", detail)
                elif member.size > _MOST_TEXT:
                    detail = f"{root / tar}, {member.name} has {member.size} bytes, more than {_MOST_TEXT}"
                    yield Fault(sample.image_id, "long_text", detail)
                else:
                    stream.seek(member.offset)
                    content = stream.read(member.size)
                    yield from _captions_of(sample.image_id, content, caption_key, f"{root / tar}, {member.name}")


def _captions_of(image_id: str, content: bytes, caption_key: str, where: str) -> Iterator[dict | Fault]:
    """The caption of a .txt, or those under a key of a .json."""
    texts: object = content.decode("utf-8-sig", "surrogateescape")
    if caption_key:
        try:
            row = parse_json(content)
        except ValueError as error:
            row = str(error)
        if not isinstance(row, dict):
            yield Fault(image_id, "bad_row", f"{where} is no JSON object: {str(row)[:200]}")
            return
        texts = row.get(caption_key)
    several = isinstance(texts, list)
    found = texts if several else [texts or ""]
    if not all(isinstance(text, str) for text in found):
        yield Fault(
            image_id, "bad_row", f"{where}: {str(texts)[:60]!r} is no caption: wanted a text, or a list of texts"
        )
    elif not any(text.strip() for text in found):
        yield Fault(image_id, "empty_caption", f"{where} has no words{f' under {caption_key}' if caption_key else ''}")
    else:
        for i, text in enumerate(found):
            if text.strip():
                yield {
                    "image_id": image_id,
                    "caption_id": f"{image_id}/{i}" if several else image_id,
                    "text": text.strip(),
                }
