"""The hierarchy of Open Images' classes, from its files."""

import json

import pytest

from sources.openimages_classes import read_hierarchy
from sources.part import SourceError


@pytest.fixture()
def classes(tmp_path):
    file = tmp_path / "classes.csv"
    file.write_text("/m/v,Vehicle\n/m/c,Car\n/m/t,Taxi\n/m/w,Wheel\n/m/a,Ambulance\n")
    return file


def hierarchy(folder, content):
    file = folder / "hierarchy.json"
    file.write_text(json.dumps(content))
    return file


def test_ancestors_are_those_of_every_place_without_the_root_and_parts(tmp_path, classes):
    """/m/l, a land vehicle that the list of classes leaves out, is passed over, and what is below it is not."""
    car = {"LabelName": "/m/c", "Subcategory": [{"LabelName": "/m/t"}], "Part": [{"LabelName": "/m/w"}]}
    land = {"LabelName": "/m/l", "Subcategory": [car, {"LabelName": "/m/a"}]}
    vehicle = {"LabelName": "/m/v", "Subcategory": [land, {"LabelName": "/m/a"}]}
    file = hierarchy(tmp_path, {"LabelName": "/m/0bl9f", "Subcategory": [vehicle, {"LabelName": "/m/a"}]})
    assert read_hierarchy(file, classes) == {
        "Ambulance": ("Vehicle",),
        "Car": ("Vehicle",),
        "Taxi": ("Car", "Vehicle"),
    }


@pytest.mark.parametrize("content", [[], {"Subcategory": []}, {"LabelName": "/m/v", "Subcategory": [3]}])
def test_a_file_of_another_kind_is_named(tmp_path, classes, content):
    with pytest.raises(SourceError, match=r"hierarchy\.json is no class hierarchy.*Subcategory"):
        read_hierarchy(hierarchy(tmp_path, content), classes)


def test_a_hierarchy_of_other_classes_is_refused(tmp_path, classes):
    with pytest.raises(SourceError, match=r"none of the classes of .*classes\.csv"):
        read_hierarchy(hierarchy(tmp_path, {"LabelName": "/m/0bl9f"}), classes)
    with pytest.raises(SourceError, match=r"absent\.csv.*challenge-2019-classes-description-segmentable"):
        read_hierarchy(hierarchy(tmp_path, {"LabelName": "/m/v"}), tmp_path / "absent.csv")
