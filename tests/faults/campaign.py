"""How large a campaign of faults is, what its random numbers come from, and the command that repeats one case.

FAULTS=1000 make faults                     a thousand cases where the default is twenty
FAULTS_SEED=7 make faults                   other cases
FAULTS_LOG=FILE make faults                 each case in a line of FILE as soon as it was tried: for campaigns of hours
FAULTS_SEED=0 FAULTS_CASE=17 python -m pytest -n 0 -m faults tests/faults/test_flips.py::test_name      that case alone

A test takes the fixture `campaign` and gives it a check that is called once a case with the case's own random numbers:

    pytestmark = pytest.mark.faults

    def test_a_flipped_bit_is_found(campaign, miniature):
        def check(rng: random.Random) -> None: ...
        campaign.run(check, each=10)     # ten cases where FAULTS is 1: for what takes milliseconds
"""

import json
import os
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

SIZE = int(os.environ.get("FAULTS", "20"))
SEED = int(os.environ.get("FAULTS_SEED", "0"))
CASE = os.environ.get("FAULTS_CASE")
LOG = os.environ.get("FAULTS_LOG")
MOST = 10  # failures of one test that are shown; the rest are counted


class Campaign:
    """The cases of one test. node: the test's name, as pytest prints it; record: takes a name and a value for the summary
    at the end."""

    def __init__(self, node: str, record: Callable[[str, object], None] = lambda name, value: None):
        self.node, self._record = node, record
        self._counts: Counter = Counter()

    def size(self, each: float = 1.0) -> int:
        """How many cases there are, at least one; each: cases for a FAULTS of 1."""
        return max(1, round(SIZE * each))

    def rng(self, case: int) -> random.Random:
        """The random numbers of a case: of the seed, the test and the case, not of the campaign's size."""
        return random.Random(f"{SEED} {self.node} {case}")

    def again(self, case: int) -> str:
        """The command that repeats a case."""
        return f"FAULTS_SEED={SEED} FAULTS_CASE={case} python -m pytest -n 0 -m faults '{self.node}'"

    def count(self, name: str) -> None:
        """One more of what a check does several times in a case."""
        self._counts[name] += 1

    def run(self, check: Callable[[random.Random], object], each: float = 1.0) -> None:
        """Call the check for every case, or for FAULTS_CASE alone. Raises AssertionError at the end where any failed, with
        what it said and the command that repeats it."""
        cases = [int(CASE)] if CASE else range(self.size(each))
        failures = []
        for case in cases:
            before, said = self._counts.copy(), ""
            try:
                check(self.rng(case))
            except Exception:
                said = f"{traceback.format_exc()}\nagain: {self.again(case)}"
                failures.append(said)
            if LOG:
                tried = {"test": self.node, "seed": SEED, "case": case, **self._counts - before, "failed": said}
                with open(LOG, "a", encoding="utf-8") as log:
                    log.write(json.dumps(tried) + "\n")
        for name, value in {"tried": len(cases), "survived": len(cases) - len(failures), **self._counts}.items():
            self._record(name, value)
        if failures:
            shown = "\n\n".join(failures[:MOST])
            raise AssertionError(f"{len(failures)} of {len(cases)} cases failed\n\n{shown}")


def summary(figures: dict[str, Iterable[tuple[str, object]]]) -> list[str]:
    """The figures that tests recorded, {test: names and values}, as lines: one a test, then a table in Markdown with a row a
    kind (a file of tests/faults), as docs/reliability.md has it."""
    tests: dict[str, Counter] = {}
    for test, pairs in sorted(figures.items()):
        counts = Counter()
        for name, value in pairs:
            counts.update({name: value} if isinstance(value, int) else {})
        if counts["tried"]:
            tests[test.split("@")[0].removeprefix("tests/faults/")] = counts
    kinds: dict[str, Counter] = {}
    for test, counts in tests.items():
        kind = PurePosixPath(test.split("::")[0]).stem.removeprefix("test_").replace("_", " ")
        kinds.setdefault(kind, Counter()).update(counts)
    if not kinds:
        return []
    lines = [
        f"{test}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}" for test, counts in tests.items()
    ]
    rows = [f"| {kind} | {counts['tried']:,} | {counts['survived']:,} |" for kind, counts in kinds.items()]
    return [*lines, "", "| kind | tried | survived |", "| --- | --- | --- |", *rows]
