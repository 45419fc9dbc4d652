"""Tars as tests need them: of whole and of broken members."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def jpeg(colour=(200, 40, 40), size=(40, 30)) -> bytes:
    with io.BytesIO() as content:
        Image.new("RGB", size, colour).save(content, "jpeg")
        return content.getvalue()


def write_tar(file: Path, members: list[tuple], format: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of (name, bytes or text) and (name, kind of TarInfo, where it leads); times are fractions, as webdataset's are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=format) as tar:
        for name, content, *leads in members:
            header = tarfile.TarInfo(name)
            header.mtime = 1_700_000_000.25 if format == tarfile.PAX_FORMAT else 1_700_000_000
            if leads:
                header.type, header.linkname = content, leads[0]
                tar.addfile(header)
            else:
                content = content.encode() if isinstance(content, str) else content
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return file


def samples(*captions: str, first: int = 0) -> list[tuple]:
    """Members as img2dataset names them: a picture, its json and its caption, of each caption."""
    members: list[tuple] = []
    for number, caption in enumerate(captions, start=first):
        key = f"{number:09d}"
        row = {"caption": caption, "key": key, "status": "success", "exif": "{}"}
        members += [(f"{key}.jpg", jpeg((number, 90, 30))), (f"{key}.json", json.dumps(row)), (f"{key}.txt", caption)]
    return members


def write_log(file: Path, rows: list[tuple[str, str, str | None]]) -> None:
    """img2dataset's table beside a tar, of (key, status, error_message)."""
    columns = {"key": [], "status": [], "error_message": []}
    for row in rows:
        for name, value in zip(columns, row):
            columns[name].append(value)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    addresses = pa.array([f"http://x.example/{i}" for i in range(len(rows))], pa.string())
    pq.write_table(table.append_column("url", addresses), file)
