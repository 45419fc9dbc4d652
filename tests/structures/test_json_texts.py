"""JSON read strictly."""

import pytest

from structures.json_texts import parse_json


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"a": [{"b": 1, "c": 2, "b": 1}]}', "the key 'b' stands twice in one object"),
        (200_000 * "[", "nested too deeply"),
        ("{'a': 1}", "double quotes"),
    ],
)
def test_what_json_alone_would_take_or_break_on_is_refused(text, fault):
    with pytest.raises(ValueError, match=fault):
        parse_json(text)


def test_a_text_in_any_encoding_of_json_is_its_value():
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json('{"name": "\u20ac"}'.encode(encoding)) == {"name": "\u20ac"}
