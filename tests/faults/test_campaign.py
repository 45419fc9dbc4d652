"""The campaign itself: every case is tried, a failure says how it is repeated, and the same numbers come again."""

import json

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


def test_cases_are_logged_as_they_are_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SIZE", 2)
    monkeypatch.setattr(module, "CASE", None)
    monkeypatch.setattr(module, "LOG", str(tmp_path / "log"))
    figures = {}
    campaign = Campaign("tests/x.py::test_y", figures.__setitem__)

    def check(rng) -> None:
        campaign.count("kills")
        campaign.count("kills")
        lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
        assert not lines, "the second"

    with pytest.raises(AssertionError, match="1 of 2"):
        campaign.run(check)
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (first["case"], first["kills"], first["failed"]) == (0, 2, "")
    assert (second["case"], second["kills"]) == (1, 2) and "the second" in second["failed"]
    assert figures == {"tried": 2, "survived": 1, "kills": 4}


def test_figures_are_summed_by_kind():
    figures = {
        "tests/faults/test_two_at_once.py::test_b": [("tried", 3), ("survived", 2)],
        "tests/faults/test_two_at_once.py::test_a[x]@miniature": [("tried", 1000), ("survived", 1000), ("other", "x")],
        "tests/faults/test_rle.py::test_c": [("tried", 4), ("survived", 4), ("tried", 5), ("survived", 5)],
        "tests/other.py::test_d": [("other", 1)],
    }
    assert module.summary(figures) == [
        "test_rle.py::test_c: tried 9, survived 9",
        "test_two_at_once.py::test_a[x]: tried 1,000, survived 1,000",
        "test_two_at_once.py::test_b: tried 3, survived 2",
        "",
        "| kind | tried | survived |",
        "| --- | --- | --- |",
        "| rle | 9 | 9 |",
        "| two at once | 1,003 | 1,002 |",
    ]
    assert module.summary({"tests/other.py::test_d": [("other", 1)]}) == []
