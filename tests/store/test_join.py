"""Tables read side by side."""

import pytest

from store.join import join_by_image


def _rows(*ids, **more):
    return [{"image_id": image_id, **more, "place": place} for place, image_id in enumerate(ids)]


def test_every_image_comes_with_its_rows_of_all_tables():
    merged = list(join_by_image(_rows("a", "a", "c", "e"), _rows("a", "b", "c", "c"), _rows("c", "d", "e")))
    assert [image_id for image_id, _ in merged] == ["a", "c", "e"]
    places = [[[row["place"] for row in rows] for rows in tables] for _, tables in merged]
    assert places == [[[0, 1], [0], []], [[2], [2, 3], [0]], [[3], [], [2]]]


def test_rows_out_of_order_are_refused():
    with pytest.raises(ValueError, match="image a come after those of b"):
        list(join_by_image(_rows("b", "a")))
    with pytest.raises(ValueError, match="image a come after those of b"):
        list(join_by_image(_rows("b", "c"), _rows("b", "a")))
    with pytest.raises(ValueError, match="image a come after those of b"):
        list(join_by_image(_rows("a", "b"), _rows("a", "b", "a")))
