"""What `python -m store` takes over many small blobs, and how long `gc` keeps stages waiting meanwhile.

    python -m benchmarks.many_blobs --blobs 100000

The blobs, the manifests and memos that list them, and the links to them are made by the store's own code. `gc` then removes the half
that no run uses any more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.made_results import make_results
from store.blobs import Blobs
from store.fingerprint import ROOT

STAGES = ("nouns", "gradcam", "selective_search", "propose", "select_boxes", "segment", "label_quality", "relabel")


def call(data: Path, *words: str) -> dict:
    """Run python -m store, and meanwhile ask for the store's lock as stages do: its seconds by the clock and of a processor,
    MiB, and the longest that the lock was waited for."""
    began, waited = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "store", "--data", str(data), *words]
        running = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        while True:
            pid, status, usage = os.wait4(running.pid, os.WNOHANG)
            if pid:
                break
            asked = time.perf_counter()
            with Blobs(data).sharing():
                waited = max(waited, time.perf_counter() - asked)
            time.sleep(0.01)
        running.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if running.returncode:
        raise RuntimeError(f"python -m store {' '.join(words)} failed:\n{text[-3000:]}")
    taken = {"seconds": time.perf_counter() - began, "seconds of a processor": usage.ru_utime + usage.ru_stime}
    row = {"command": " ".join(words)} | taken | {"MiB": usage.ru_maxrss // 1024, "longest wait for the lock": waited}
    print(json.dumps(row | {"says": text.strip().splitlines()[-1]}), file=sys.stderr, flush=True)
    return row


def measure(data: Path, blobs: int) -> list[dict]:
    """A row for each command."""
    shards = blobs // len(STAGES)
    folder = data / "runs" / "many" / "manifests"
    manifests = [folder / stage / f"{shard}.json" for stage in STAGES for shard in range(shards)]
    blobs = make_results(data, manifests, shards)
    rows = [call(data, "ls"), call(data, "verify"), call(data, "gc", "--dry-run")]
    for manifest in manifests[len(manifests) // 2 :]:
        manifest.unlink()
    rows.append(call(data, "gc"))
    return [{"blobs": blobs} | row for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, nargs="+", default=[100_000])
    args = parser.parse_args()
    rows = []
    for blobs in args.blobs:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), blobs)
    print(pd.DataFrame(rows).round(1).to_markdown(index=False))


if __name__ == "__main__":
    main()
