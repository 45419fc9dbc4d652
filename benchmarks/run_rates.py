"""The embedded run's paces, which `python -m pipeline estimate` takes where no run was measured: benchmarks/run_rates.json.

    python -m benchmarks.run_rates data [OTHER ...]     # the data folders of embedded runs on two cores

Of several jobs alike the fastest counts, for whatever else a machine does makes them slower. Jobs of variants have one thread,
others two.
"""

import argparse
import json
import math
import re
from dataclasses import asdict
from pathlib import Path

from pipeline.estimate.measured import Job, measured_jobs
from pipeline.estimate.pace import OF_EMBEDDED_RUN, pooled
from pipeline.registry import stages
from store.fingerprint import ROOT

RATES = ROOT / "benchmarks" / "run_rates.json"
START_UP = {True: 3.5, False: 0.8}  # seconds of a job that loads torch, and of one that does not, on these two cores
VARIANT = re.compile(r"\.\w+\.\d+(\.round\d+)?$")


def fastest(jobs: list[Job]) -> list[Job]:
    """Of the jobs of each stage with equal parameters the one that took least a unit."""
    found: dict[tuple, Job] = {}
    for job in jobs:
        key = job.stage, json.dumps(job.depends, sort_keys=True)
        known = None not in job.depends.values()
        if (
            job.units
            and known
            and (key not in found or job.seconds / job.units < found[key].seconds / found[key].units)
        ):
            found[key] = job
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    args = parser.parse_args()
    jobs = fastest([job for data in args.data for job in measured_jobs(data)])
    rows = []
    for job in jobs:
        threads = 1 if VARIANT.search(job.run) else min(2, stages()[job.stage].threads)
        [pace] = pooled([job], threads, START_UP, OF_EMBEDDED_RUN)
        row = asdict(pace) | {"of": "2 cores of x86_64"}
        rows.append({key: value for key, value in row.items() if value not in (None, "", math.inf)})
    rows.sort(key=lambda row: (row["stage"], json.dumps(row["depends"], sort_keys=True)))
    RATES.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
