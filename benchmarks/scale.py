"""What a stage takes of time and memory as the data set grows: made data sets of any number of rows.

    python -m benchmarks.scale ingest --rows 10000 100000 1000000 [--format webdataset] [--threads 2] [--folder /tmp/scale]
    python -m benchmarks.scale evaluate --rows 10000 1000000       # and other stages, on made tables: scale_tables.py

Each number of rows is a line: seconds, microseconds a row that processors worked (on a busy machine the surer number), and the
largest resident memory of the stage's process and of the largest that it started. What a data set is made of is kept in the
folder, and made once.
"""

import argparse
import csv
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from PIL import Image

from benchmarks.scale_tables import MEASURED, tables
from structures.progress import progress

_IN_TAR = 5000  # pictures
_IN_SHARD = 1000
# Of a process and of the children it waited for: the peak of memory, KiB, and the seconds of processors.
_MEASURED = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]  # of ru_maxrss a part is the parent's
    print("used", own, used[1].ru_maxrss, sum(use.ru_utime + use.ru_stime for use in used))
"""


@cache
def _jpeg(number: int) -> bytes:
    """One of a few pictures of 64 x 64 pixels."""
    with io.BytesIO() as content:
        Image.linear_gradient("L").resize((64, 64)).rotate(10 * number).convert("RGB").save(content, "jpeg")
        return content.getvalue()


def _caption(number: int) -> str:
    return f"a photo of {number % 7 + 2} dogs and a cup beside the old house number {number}"


def _tars(root: Path, rows: int) -> dict:
    """Pictures as img2dataset packs them."""
    (root / "tars").mkdir()
    for first in progress(range(0, rows, _IN_TAR), description="making tars", unit="tar"):
        with tarfile.open(root / "tars" / f"{first // _IN_TAR:05d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(first, min(rows, first + _IN_TAR)):
                for kind, content in (("jpg", _jpeg(number % 7)), ("txt", _caption(number).encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{kind}")
                    member.size, member.mtime = len(content), 1.25
                    tar.addfile(member, io.BytesIO(content))
    return {"format": "webdataset", "images": "tars"}


def _files(root: Path, rows: int) -> None:
    for number in progress(range(rows), description="making pictures", unit="picture"):
        file = root / "pictures" / f"{number:09d}.jpg"
        if number % _IN_TAR == 0:
            file.parent.mkdir(exist_ok=True)
        file.write_bytes(_jpeg(number % 7))


def _csv(root: Path, rows: int) -> dict:
    """Pictures in a folder, and a CSV of names and captions."""
    _files(root, rows)
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *((f"{i:09d}.jpg", _caption(i)) for i in range(rows))])
    return {"format": "folder", "images": "pictures", "captions": "captions.csv"}


def _tsv(root: Path, rows: int) -> dict:
    """Conceptual Captions' table and its pictures."""
    _files(root, rows)
    with (root / "captions.tsv").open("w") as file:
        file.writelines(f"{_caption(i)}\thttp://a.example/{i}\n" for i in range(rows))
    return {"format": "conceptual_captions", "images": "pictures", "captions": "captions.tsv"}


FORMATS = {"webdataset": _tars, "folder": _csv, "conceptual_captions": _tsv}


def ingest(args: argparse.Namespace) -> None:
    """Ingest of tiny pictures, each with one caption."""
    for rows in args.rows:
        folder = args.folder / f"{args.format}-{rows}"
        _once(folder, lambda folder, rows=rows: _write_config(folder, args.format, rows))
        arguments = ["--configfile", str(folder / "config.yaml"), "--data", str(folder / "data"), "--recompute"]
        _report(rows, _run("stages.ingest", *arguments, "--threads", str(args.threads)))
        shutil.rmtree(folder / "data")


def _write_config(folder: Path, format: str, rows: int) -> None:
    part = FORMATS[format](folder, rows)
    config = {"run": "scale", "root": str(folder), "shards": -(-rows // _IN_SHARD), "ingest": {"train": part}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _once(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder of a data set, if it is not there whole."""
    if folder.exists():
        return
    draft = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    make(draft)
    config = draft / "config.yaml"
    config.write_text(config.read_text().replace(str(draft), str(folder)))
    draft.rename(folder)


class _Used(NamedTuple):
    """seconds: on the clock; own, children: KiB at the peak; worked: seconds of processors."""

    seconds: float
    own: int
    children: int
    worked: float


def _run(*command: str) -> _Used:
    """What a stage in a process of its own used. What it says of a failure is shown."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _MEASURED, *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    own, children, worked = done.stdout.splitlines()[-1].split()[1:]
    return _Used(time.monotonic() - began, int(own), int(children), float(worked))


def _report(rows: int, used: _Used) -> None:
    print(
        f"{rows:>9,} rows: {used.seconds:8.1f} s, {used.worked / rows * 1e6:7.1f} µs a row; "
        f"peak {used.own / 1024:6.1f} MiB, of a process that it started {used.children / 1024:6.1f} MiB",
        flush=True,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    command = stages.add_parser("ingest", help=ingest.__doc__)
    command.set_defaults(run=ingest)
    command.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    command.add_argument("--format", choices=list(FORMATS), default="webdataset")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--folder", type=Path, default=Path("/tmp/cap2mask-scale"), help="of what is made")
    for stage in MEASURED:
        command = stages.add_parser(stage, help=tables.__doc__)
        command.set_defaults(run=tables, stage=stage)
        command.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="images")
        command.add_argument("--folder", type=Path, help="what takes the tables; a temporary one otherwise")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
