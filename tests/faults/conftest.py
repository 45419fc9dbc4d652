"""The fixture `campaign`, and its figures at the end of a run of tests."""

import pytest

from tests.faults.campaign import SEED, Campaign
from tests.faults.limits import Limited


@pytest.fixture()
def campaign(request, record_property) -> Campaign:
    return Campaign(request.node.nodeid.split("@")[0], record_property)


def pytest_terminal_summary(terminalreporter) -> None:
    """A line a test: cases that were tried, and that were survived."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = {report.nodeid: dict(report.user_properties) for report in reports if report.user_properties}
    if figures:
        terminalreporter.section(f"faults, seed {SEED}")
    for test, counts in sorted(figures.items()):
        if "tried" in counts:
            name = test.split("@")[0].removeprefix("tests/faults/")
            terminalreporter.write_line(f"{name}: tried {counts['tried']:,}, survived {counts['survived']:,}")


@pytest.fixture(scope="module")
def limited():
    """Work done in a process of bounded time and memory."""
    limited = Limited()
    yield limited
    limited.close()
