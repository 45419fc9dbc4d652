"""The fixture `campaign`, and its figures at the end of a run of tests."""

import pytest

from tests.faults.campaign import SEED, SIZE, Campaign, summary
from tests.faults.limits import Limited


@pytest.fixture()
def campaign(request, record_property) -> Campaign:
    return Campaign(request.node.nodeid.split("@")[0], record_property)


def pytest_terminal_summary(terminalreporter) -> None:
    """A line a test, and a table of all kinds: cases that were tried, and that were survived."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = {report.nodeid: report.user_properties for report in reports if report.user_properties}
    lines = summary(figures)
    if lines:
        terminalreporter.section(f"faults, FAULTS={SIZE} FAULTS_SEED={SEED}")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def limited():
    """Work done in a process of bounded time and memory."""
    limited = Limited()
    yield limited
    limited.close()
