"""Streams in batches."""

from structures.batches import batches


def test_batches_hold_so_many_items_and_only_what_is_alike():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches("aabbbb", 3, alike=str)) == [["a", "a"], ["b", "b", "b"], ["b"]]
    assert list(batches("aabbbbcd", 3, whole=str)) == [["a", "a", "b", "b", "b", "b"], ["c", "d"]]
    assert list(batches([], 3)) == []
