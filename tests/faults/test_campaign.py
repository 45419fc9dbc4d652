"""The campaign itself: every case is tried, a failure says how it is repeated, and the same numbers come again."""

import pytest

from tests.faults import campaign as module
from tests.faults.campaign import Campaign


def test_a_failure_is_told_with_the_command_that_repeats_it(monkeypatch):
    monkeypatch.setattr(module, "SIZE", 8)
    monkeypatch.setattr(module, "CASE", None)
    figures, seen = {}, []

    def check(rng) -> None:
        seen.append(rng.random())
        assert len(seen) != 4, "the fourth"

    with pytest.raises(AssertionError, match="1 of 8 cases failed") as failure:
        Campaign("tests/x.py::test_y", figures.__setitem__).run(check)
    assert figures == {"tried": 8, "survived": 7} and len(set(seen)) == 8
    assert "the fourth" in str(failure.value)
    assert "FAULTS_CASE=3 python -m pytest -n 0 -m faults 'tests/x.py::test_y'" in str(failure.value)
    monkeypatch.setattr(module, "CASE", "3")
    again = []
    Campaign("tests/x.py::test_y").run(lambda rng: again.append(rng.random()))
    assert again == [seen[3]]
