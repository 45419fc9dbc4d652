"""Readers by the name of their format."""

import pytest

from sources import openimages
from sources.readers import load_reader
from structures.errors import UserError


def test_a_format_is_the_file_of_its_name():
    assert load_reader("openimages") is openimages.read_part


@pytest.mark.parametrize("name", ["voc", "part", "readers", "../coco"])
def test_an_unknown_format_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=r"wanted one of (\w+, )*openimages"):
        load_reader(name)
