"""The order of training items."""

from collections import Counter

import pytest

from structures.errors import UserError
from training.loader import Rows, StepLoader
from training.processes import LAUNCHED

ROWS = Rows(list(range(10)), lambda row: row)


def steps(first, last, **options):
    loader = StepLoader(ROWS, batch=4, seed=3, **options)
    return [loader(step) for step in range(first, last)]


def test_every_epoch_has_every_item_once_in_another_order():
    items = [item for batch in steps(0, 5) for item in batch]
    assert Counter(items) == dict.fromkeys(range(10), 2) and items[:10] != items[10:]


def test_a_loader_that_starts_later_gives_what_it_would_have_given():
    assert steps(3, 6) == steps(0, 6)[3:] == steps(0, 6, workers=1)[3:]


def test_parts_and_processes_share_the_batch_of_a_step(monkeypatch):
    [whole] = steps(0, 1)
    loader = StepLoader(ROWS, batch=4, seed=3, accumulate=2)
    assert loader(0) + loader(0) == whole
    monkeypatch.setenv(LAUNCHED, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = {}
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        loader = StepLoader(ROWS, batch=4, seed=3, accumulate=2)
        for part in range(2):
            [shares[part, rank]] = loader(0)
    assert [share for _, share in sorted(shares.items())] == whole


def test_a_batch_that_can_not_be_shared_is_refused():
    with pytest.raises(UserError, match="batch of 4 can't be split over 1 processes, 3 times"):
        StepLoader(ROWS, batch=4, seed=3, accumulate=3)
