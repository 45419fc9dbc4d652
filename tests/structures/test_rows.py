"""Rows in memory."""

from structures.rows import group_by_image


def test_rows_are_grouped_by_image_and_keep_their_order():
    rows = [{"image_id": image_id, "number": i} for i, image_id in enumerate("bab")]
    assert group_by_image(iter(rows)) == {"b": [rows[0], rows[2]], "a": [rows[1]]}
    assert group_by_image([]) == {}
