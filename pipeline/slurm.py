"""Why Slurm ended jobs: it says so in a log of its own, while Snakemake tells that they failed, "Reason: Unknown"."""

import re
from pathlib import Path

_SUBMITTED = re.compile(r"has been submitted with SLURM jobid (\d+) \(log: (.+)\)\.$", re.M)
_ENDED = re.compile(r"^slurmstepd\S*: error: .*(memory limit|oom.kill|CANCELLED AT).*$", re.M | re.I)
_REMEDIES = {
    "memory limit": "it needed more memory than it asked for: --set-resources {rule}:mem_mb=…",
    "oom": "it needed more memory than it asked for: --set-resources {rule}:mem_mb=…",
    "time limit": "it took longer than it asked for: --set-resources {rule}:runtime=… (minutes)",
    "": "it was cancelled; the same command goes on",
}


def ended_by_slurm(snakemake_log: Path) -> list[str]:
    """A line for each job of a run that Slurm ended, in the order of their submission: the rule, why, and what to do.

    snakemake_log: what the run said. Slurm's logs of jobs that came to a good end are gone by then.
    """
    lines = []
    for number, name in _SUBMITTED.findall(snakemake_log.read_text(encoding="utf-8", errors="replace")):
        log = Path(name)
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        said = [match[0] for match in _ENDED.finditer(text)]
        if said:
            rule = next((part for part in log.parts[::-1] if part.startswith(("rule_", "group_"))), "").partition("_")[
                2
            ]
            remedy = next(told for sign, told in _REMEDIES.items() if any(sign in line.lower() for line in said))
            lines.append(f"{rule}: Slurm ended its job {number}: {remedy.format(rule=rule)} ({log})")
    return lines
