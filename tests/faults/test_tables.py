"""Tables that users bring, as bad tools and bad disks leave them: each row is read as it stands in its file or is a reject with
its line, or the file is refused in a line that names it; in bounded time and memory."""

import json
import random
import re
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config import section_schema
from schemas.tables import TABLES
from sources import conceptual_captions, folder, openimages
from sources.part import Fault, SourceError, text_fault
from store.parquet import TableWriter
from structures.errors import MOST_CHARACTERS
from tests.faults.mutations import TEXTS, hostile, mutated_bytes, mutated_tree
from tests.sources.listed import listed

pytestmark = pytest.mark.faults
CAT, CUP = "/m/01yrx", "/m/02p5f1q"
OPEN = SimpleNamespace(
    images="train", classes="classes.csv", labels="labels.csv", boxes="boxes.csv", instances="masks.csv", masks="masks",
    captions="narratives.jsonl",
)  # fmt: skip
CONTENT = {
    "classes.csv": f'{CAT},Cat\n{CUP},"Cup, of coffee"\n',
    "labels.csv": f"ImageID,Source,LabelName,Confidence\n00a,v,{CAT},1\n00b,v,{CUP},0\n00c,v,{CUP},1\n00c,v,/m/x,1\n",
    "boxes.csv": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction\n"
    + "".join(f"{image},x,{label},1,0.25,0.75,0.5,1,0,0,{group},0\n" for image, label, group in
              (("00a", CAT, 1), ("00b", CUP, 0), ("00c", CUP, 1))),
    "masks.csv": "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"
    + "".join(f"{image}.png,{image},{label},b{image},0.25,0.75,0.5,1,0.9,1 2;3 4\n" for image, label in
              (("00a", CAT), ("00b", CUP), ("00c", CUP), ("00d", CAT))),
    "narratives.jsonl": '{"image_id": "00a", "caption": "We see a cat."}\n{"image_id": "00c", "caption": "A cup, white."}\n',
}  # fmt: skip
LONG, LONGEST = "x" * 1_200_000, "x" * 10_000_000
CODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7")


def one_line(text: str, *names: str) -> None:
    text.encode()
    assert len(text.splitlines()) == 1 and len(text) <= MOST_CHARACTERS + 100, text
    assert any(name in text for name in names), text


def written(folder: Path, table: str, rows: list[dict]) -> None:
    """Write rows as ingest does: those that text_fault finds nothing in."""
    writer = TableWriter(folder / f"{table}.out", TABLES[table].schema, 100)
    for row in rows:
        if text_fault(row) is None:
            writer.add(**row)
    writer.close()


def places_told(faults: list[Fault], *names: str) -> None:
    """Every fault names its file and the row in it."""
    for fault in faults:
        text = fault.detail
        assert any(name in text for name in names) and re.search(r"(lines?|row) \d+|is not there|\.png", text), text


# Rows that are damaged one by one: what is whole must be read, what is damaged must be a fault


def damaged_row(cells: list[str], separator: str, rng: random.Random) -> tuple[str, str]:
    """A line of a table, and what must become of it: "read", "fault", or "file", where the file may be refused."""

    def quoted(cell: str) -> str:
        plain = not any(letter in cell for letter in (separator, '"', "\n", "\r"))
        return cell if plain and rng.random() < 0.5 else '"' + cell.replace('"', '""') + '"'

    whole = [quoted(cell) for cell in cells]
    kind = rng.randrange(16)
    place = rng.randrange(len(whole))
    if kind == 0:
        return separator.join([*whole[:place], "a", *whole[place:]]), "fault"
    if kind == 1:
        return separator.join(whole[:place] + whole[place + 1 :]), "fault"
    if kind == 2:
        return separator.join([*whole, "", ""]), "fault"
    if kind == 3:
        whole[place] += f"{separator} and more"
        return separator.join(whole), "fault"
    if kind == 4:
        whole[place] = f'"{cells[place][:1]}"{cells[place][1:]}' + "x"
        return separator.join(whole), "fault"
    if kind == 5:
        return separator.join([*whole[:place], '"' + cells[place], *whole[place + 1 :]]), "file"
    if kind == 6:
        return separator.join([*whole[:place], LONGEST if rng.random() < 0.1 else LONG, *whole[place + 1 :]]), "file"
    return separator.join(whole), "read"


def some_table(rng: random.Random) -> tuple[str, bytes, dict[str, str], int, bool]:
    """A file's name and bytes, {image: caption} of its whole rows, how many are faults, and whether it may be refused."""
    separator, name = rng.choice(((",", "t.csv"), ("\t", "t.tsv")))
    columns = rng.sample(["image", "Caption", "other"], 3)
    lines, wanted, faults, refused = [separator.join(columns)], {}, 0, False
    for i in range(rng.randint(1, 12)):
        extra = rng.choice(("", " x", ", two\tcups", ' "so" ', "\nand on", " é 🐉"))
        cells = {"image": f"{i}.jpg", "Caption": f"caption {i}{extra}.", "other": rng.choice(("", "o", "1,2\t3"))}
        line, fate = damaged_row([cells[column] for column in columns], separator, rng)
        lines.append(line)
        faults, refused = faults + (fate == "fault"), refused or fate == "file"
        if fate == "read":
            wanted[cells["image"]] = cells["Caption"]
    text = rng.choice(("\n", "\r\n")).join(lines) + rng.choice(("", "\n", "\n\n"))
    return name, text.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16"))), wanted, faults, refused


def one_by_one(root: Path, name: str, wanted: dict[str, str], faults: int, refused: bool) -> None:
    try:
        part = listed(folder.read_part)(root, SimpleNamespace(images="pictures", captions=name))
    except SourceError as error:
        one_line(str(error), name)
        assert refused or not wanted, error
        return
    found = {row["image_id"]: row["text"] for row in part.captions}
    places_told(part.faults, name)
    if refused:  # not where another quote closes the one that was open: what is between is one row, or a fault
        own = [pair for pair in found.items() if wanted.get(pair[0]) != pair[1]]
        assert part.faults or own, "rows are lost without a word"
        assert all("\n" in "".join(pair) or '"' in "".join(pair) for pair in own), (
            own
        )  # or begins in a cell's second line
    else:
        assert found == wanted, found
        assert len(part.faults) >= faults, part.faults  # more, where a row that is damaged has several lines


def test_a_damaged_row_costs_itself_alone(campaign, tmp_path, limited):
    def check(rng: random.Random) -> None:
        name, content, *fates = some_table(rng)
        (tmp_path / name).write_bytes(content)
        limited(one_by_one, tmp_path, name, *fates)

    campaign.run(check, each=10)


def test_ingest_says_what_became_of_each_row(campaign, project):
    """Through the command."""
    pictures = project.folder / "data" / "pictures"
    pictures.mkdir(parents=True)
    for i in range(12):
        Image.fromarray(np.full((8, 9, 3), i, np.uint8)).save(pictures / f"{i}.jpg")

    def check(rng: random.Random) -> None:
        refused = True
        while refused:  # such files the test above looks into
            name, content, wanted, faults, refused = some_table(rng)
        (project.folder / "data" / name).write_bytes(content)
        part = {"format": "folder", "images": "pictures", "captions": name}
        project.config |= {"root": "data", "ingest": {"train": part}, "max_reject_fraction": 1.0, "vocabulary": ""}
        project.write_config()
        output = project.stage("ingest", check=bool(wanted))
        assert "Traceback" not in output, output
        if not wanted:
            one_line(output.strip().splitlines()[-1], name)
            return
        captions = pq.read_table(project.run / "captions").to_pylist()
        assert {row["image_id"]: row["text"] for row in captions} == wanted
        rejects = project.run / "ingest" / "_rejects"
        assert sum(pq.read_metadata(file).num_rows for file in rejects.glob("*")) >= faults

    campaign.run(check, each=0.2)


# Bytes that are damaged anywhere: what is read stands so in the file


def decoded(content: bytes) -> str:
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return content.decode(coding, "surrogateescape")


def stand_together(text: str, separator: str, image: str, caption: str) -> bool:
    """Whether a caption's cell follows its image's."""

    def cell(value: str) -> str:
        return "|".join(re.escape(form) for form in (value, value.replace('"', '""')))

    image = f"(?:{cell(image)})".replace("/", "/[/.]*")
    return bool(re.search(rf'{image}[/.]*\s*"?\s*{separator}\s*"?\s*(?:{cell(caption)})', text))


def any_folder(root: Path, name: str) -> None:
    try:
        part = listed(folder.read_part)(root, SimpleNamespace(images="pictures", captions=name))
    except SourceError as error:
        one_line(str(error), name)
        return
    places_told(part.faults, name)
    written(root, "captions", part.captions)
    written(root, "labels", part.labels)
    text = decoded((root / name).read_bytes())
    lines = [strings_of(line) for line in re.split("\r\n|\n|\r", text)] if name.endswith("l") else []
    for row in part.captions:
        if name.endswith("l"):
            assert any(row["image_id"] in line and row["text"] in line for line in lines), row
        else:
            assert stand_together(text, "\t" if name.endswith("tsv") else ",", row["image_id"], row["text"]), row


def strings_of(line: str) -> set[str]:
    """The texts that are members of a line's object, and as paths."""
    try:
        values = [value.strip() for value in json.loads(line).values() if isinstance(value, str)]
    except (ValueError, AttributeError, RecursionError):
        return set()
    return {*values, *(str(PurePosixPath(value)) for value in values)}


def text_table(name: str, rng: random.Random) -> bytes:
    rows = [[f"sub/{i}.jpg", f"a caption, {i} of it" + rng.choice(("", ' "so"', "\nx", " 猫"))] for i in range(4)]
    if rng.random() < 0.5:
        rows.append([str(rng.choice(TEXTS)) for _ in range(2)])
    if name.endswith("l"):
        objects = [dict(zip(("image", "caption"), row)) for row in rows]
        if rng.random() < 0.6:
            objects.append(
                mutated_tree({"image": "m.jpg", "caption": "a cup", "labels": ["a", "b"], "x": {"y": 1}}, rng)
            )
        text = "\n".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in objects)
    else:
        separator = "\t" if name.endswith("tsv") else ","
        cells = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in [["image", "caption"], *rows]]
        text = "\n".join(separator.join(row) for row in cells)
    coding = rng.choice(CODINGS) if rng.random() < 0.3 else "utf-8"
    content = text.encode(coding, "surrogatepass" if coding.startswith("utf-8") else "replace")
    return mutated_bytes(content, rng) if rng.random() < 0.8 else content


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_a_table_with_changed_bytes_is_read_as_it_stands_or_refused(campaign, tmp_path, limited, name):
    def check(rng: random.Random) -> None:
        (tmp_path / name).write_bytes(text_table(name, rng))
        limited(any_folder, tmp_path, name)

    campaign.run(check, each=20)


def any_open_images(root: Path) -> None:
    names = [name for name in vars(OPEN).values() if "." in name or name == OPEN.masks]
    try:
        part = listed(openimages.read_part)(root, OPEN)
        tables = {name: list(getattr(part, name)) for name in ("captions", "labels", "judged")}
        tables["annotations"] = list(part.annotations(lambda image_id: (40, 80) if image_id in part.images else None))
    except SourceError as error:
        one_line(str(error), *names)
        return
    text = {name: decoded((root / f"{name}.csv").read_bytes()) for name in ("labels", "masks", "boxes")}
    for table, found in tables.items():
        places_told([row for row in found if isinstance(row, Fault)], *names)
        rows = [row for row in found if not isinstance(row, Fault)]
        written(root, table, rows)
        if table in ("labels", "judged") and '"' not in text["labels"]:
            for row in rows:
                assert any(row["image_id"] in line for line in text["labels"].splitlines()), row
        for row in rows if table == "annotations" else ():
            x, y, width, height = row["bbox"]
            assert 0 <= x <= x + width <= 80.001 and 0 <= y <= y + height <= 40.001 and row["area"] >= 0


def test_changed_files_of_open_images_are_read_or_refused(campaign, tmp_path, limited):
    (tmp_path / "masks").mkdir()
    for image in ("00a", "00b", "00c"):
        Image.fromarray(np.full((5, 6), 255, np.uint8)).save(tmp_path / "masks" / f"{image}.png")

    def check(rng: random.Random) -> None:
        changed = rng.sample(sorted(CONTENT), rng.choice((1, 1, 2)))
        for name, text in CONTENT.items():
            content = text.encode()
            if name in changed:
                if rng.random() < 0.2:
                    cells = re.split("([,\n])", text)
                    cells[rng.randrange(len(cells))] = str(rng.choice((*TEXTS, LONG, hostile(rng))))
                    content = "".join(cells).encode("utf-8", "surrogatepass")
                elif rng.random() < 0.2:
                    content = text.encode(rng.choice(CODINGS))
                else:
                    content = mutated_bytes(content, rng)
            (tmp_path / name).write_bytes(content)
        limited(any_open_images, tmp_path)

    campaign.run(check, each=20)


@pytest.mark.parametrize(
    ("name", "cells"),
    [("labels.csv", 4), ("boxes.csv", 12), ("masks.csv", 10)],
)
def test_a_cell_more_or_less_in_open_images_shifts_nothing(campaign, tmp_path, limited, name, cells):
    (tmp_path / "masks").mkdir()
    for image in ("00a", "00b", "00c", "00d"):
        Image.fromarray(np.full((5, 6), 255, np.uint8)).save(tmp_path / "masks" / f"{image}.png")

    def check(rng: random.Random) -> None:
        for other, text in CONTENT.items():
            (tmp_path / other).write_text(text)
        header, *lines = CONTENT[name].splitlines()
        place = rng.randrange(len(lines))
        row = lines[place].split(",")
        at = rng.randrange(len(row))
        row[at : at + rng.choice((0, 1, 2))] = rng.choice(([], ["x"], ["0.5", "0.5", "1"], ["1", "1"]))
        lines[place] = ",".join(row)
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        limited(shifted, tmp_path, name, place, len(row) != cells)

    campaign.run(check, each=5)


def shifted(root: Path, name: str, place: int, damaged: bool) -> None:
    part = listed(openimages.read_part)(root, OPEN)
    rows = [*part.labels, *part.annotations(lambda image_id: (40, 80))]
    told = [row for row in rows if isinstance(row, Fault) and f"{name}, line {place + 2}:" in row.detail]
    assert not damaged or len(told) == 1, rows


# Conceptual Captions: a line is a caption, a tab, an address


def any_conceptual_captions(root: Path, file_name: str) -> None:
    try:
        part = listed(conceptual_captions.read_part)(
            root, SimpleNamespace(images="p", captions="cc.tsv", file_name=file_name)
        )
        captions = list(part.captions)
    except SourceError as error:
        one_line(str(error), "cc.tsv", "file_name")
        return
    places_told(part.faults, "cc.tsv")
    written(root, "captions", captions)
    lines = re.split("\r\n|\n|\r", decoded((root / "cc.tsv").read_bytes()))
    for row in captions:
        assert lines[int(row["image_id"][3:])].split("\t")[0].strip() == row["text"]
    ends_empty = lines[-1] == ""
    assert len(captions) + len(part.faults) == len(lines) - ends_empty
    assert all(len(path) < 100_000 for path, _, _ in part.images.values())


def test_changed_conceptual_captions_are_read_line_by_line_or_refused(campaign, tmp_path, limited):
    patterns = (
        "{row:09d}.jpg",
        "{row}_{crc32}",
        "{md5}",
        "{row:999999999d}",
        "{row.__class__}",
        "{",
        "{md5:d}",
        "{0}",
        "x",
        "{row!r:>9}",
    )

    wanted = section_schema("ingest")["properties"]["captioned"]["properties"]["file_name"]["pattern"]

    def check(rng: random.Random) -> None:
        lines = [f"caption {i}\thttp://a.example/{i}.jpg" for i in range(5)]
        lines[rng.randrange(5)] = rng.choice((*TEXTS, "\t", "a\tb\tc", "a\t", "\tb", LONG, "a\t" + LONG[: 1 << 19]))
        coding = rng.choice(CODINGS) if rng.random() < 0.3 else "utf-8"
        content = "\n".join(lines).encode(coding, "surrogatepass" if coding.startswith("utf-8") else "replace")
        (tmp_path / "cc.tsv").write_bytes(mutated_bytes(content, rng) if rng.random() < 0.6 else content)
        pattern = rng.choice(patterns) if rng.random() < 0.3 else patterns[0]
        if re.search(wanted, pattern):
            limited(any_conceptual_captions, tmp_path, pattern)

    campaign.run(check, each=20)


# Parquet: any schema, and flipped bytes


def parquet_columns(rng: random.Random, size: int) -> tuple[dict[str, pa.Array], dict[str, str] | None]:
    """Columns of some types, and {image: caption}, None where a type can't be of names and captions."""
    names = [f"{i}.jpg" if rng.random() < 0.9 else None for i in range(size)]
    captions = [f"caption {i}" if rng.random() < 0.9 else None for i in range(size)]
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))
    others = {
        pa.binary(): [None if name is None else name.encode() for name in names],
        pa.int64(): list(range(size)),
        pa.float32(): [float("nan")] * size,
        pa.list_(pa.string()): [["a", None]] * size,
        pa.struct({"x": pa.string()}): [{"x": "a"}] * size,
        pa.map_(pa.string(), pa.int8()): [[("a", 1)]] * size,
        pa.timestamp("ns"): [2**62] * size,
        pa.date32(): [2**31 - 1] * size,
        pa.decimal128(38, 2): [None] * size,
        pa.null(): [None] * size,
        pa.duration("s"): [2**62] * size,
        pa.time64("ns"): [2**46] * size,
    }
    good = rng.random() < 0.5
    columns = {}
    for column, values in (("image", names), ("caption", captions)):
        kind = rng.choice(texts if good or rng.random() < 0.5 else list(others))
        columns[column] = pa.array(others.get(kind, values), kind)
    if rng.random() < 0.5:
        kind = rng.choice((*texts, *others))
        columns[rng.choice(("labels", "other", "", "CAPTION", "ä"))] = pa.array(others.get(kind, ["a, b"] * size), kind)
    pairs = dict(zip(names, captions)).items()
    return columns, {name: caption for name, caption in pairs if name and caption} if good else None


def any_parquet(root: Path, wanted: dict[str, str] | None) -> None:
    try:
        part = listed(folder.read_part)(root, SimpleNamespace(images="pictures", captions="t.parquet"))
    except SourceError as error:
        one_line(str(error), "t.parquet")
        assert not wanted, error
        return
    places_told(part.faults, "t.parquet")
    captions = list(part.captions)
    written(root, "captions", captions)
    written(root, "labels", part.labels)
    assert wanted is None or {row["image_id"]: row["text"] for row in captions} == wanted


def test_parquet_of_any_schema_is_read_row_by_row_or_refused(campaign, tmp_path, limited):
    def check(rng: random.Random) -> None:
        size = rng.choice((0, 1, 5, 3000))
        columns, wanted = parquet_columns(rng, size)
        twice = rng.random() < 0.1
        arrays, names = [*columns.values()], [*columns]
        table = pa.table([*arrays, *arrays[:1] * twice], [*names, *names[:1] * twice])
        options = {
            "compression": rng.choice(("zstd", "snappy", "gzip", "none")),
            "row_group_size": rng.choice((1000, 7)),
        }
        pq.write_table(table, tmp_path / "t.parquet", data_page_size=rng.choice((100, 1 << 20)), **options)
        sound = not twice and len(columns) == 2
        limited(any_parquet, tmp_path, wanted if sound else None)

    campaign.run(check, each=10)


def test_parquet_with_flipped_bytes_is_read_or_refused(campaign, tmp_path, limited):
    def check(rng: random.Random) -> None:
        columns, _ = parquet_columns(rng, rng.choice((3, 300)))
        options = {"compression": rng.choice(("zstd", "snappy", "none")), "write_page_checksum": rng.random() < 0.3}
        pq.write_table(pa.table(columns), tmp_path / "t.parquet", **options)
        content = (tmp_path / "t.parquet").read_bytes()
        if rng.random() < 0.5:
            content = mutated_bytes(content, rng)
        else:
            changed = bytearray(content)
            for _ in range(rng.randint(1, 8)):
                start = max(0, len(changed) - 900) if rng.random() < 0.5 else 0
                changed[rng.randrange(start, len(changed))] ^= 1 << rng.randrange(8)
            content = bytes(changed)
        (tmp_path / "t.parquet").write_bytes(content)
        limited(any_parquet, tmp_path, None)

    campaign.run(check, each=20)
