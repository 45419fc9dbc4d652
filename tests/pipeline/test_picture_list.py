"""The list of pictures on disk: sorted as Python sorts, ids of two pictures told, changed while it is read."""

import random

import pytest

from pipeline.picture_list import Picture, PictureList
from structures.errors import UserError


@pytest.fixture()
def pictures(tmp_path):
    with PictureList(tmp_path / "scratch" / "list") as pictures:
        yield pictures
    assert not list((tmp_path / "scratch").iterdir())


def picture(image_id: str, part: int = 0, path: str = "", split: str = "train", sha256=None) -> Picture:
    return Picture(image_id, part, split, path or f"{image_id}.jpg", 8, 6, sha256)


def test_ids_come_in_the_order_of_python_and_may_be_changed_meanwhile(pictures):
    ids = ["", "a", "B", "é", "\uffff", "🐉", "a/1", "a\0b", "10", "9", *(str(i) for i in range(100, 3600))]
    random.Random(1).shuffle(ids)
    pictures.add(map(picture, ids))
    seen = []
    for listed in pictures.listed():
        seen.append(listed.image_id)
        if listed.image_id.isdecimal():
            pictures.looked_at([listed._replace(split="val", sha256="0" * 64)])
    assert seen == sorted(ids) and pictures.count() == len(ids)
    usable = [listed.image_id for listed in pictures.usable()]
    assert usable == sorted(filter(str.isdecimal, ids)) == list(pictures.of_part(0)) and not list(pictures.of_part(1))
    pictures.assign(5)
    shards = [pictures.shard(image_id) for image_id in usable]
    assert shards == [i * 5 // len(usable) for i in range(len(usable))]
    assert [pictures.shard(image_id) for image_id in ("é", "none", "\udcff")] == [None] * 3
    assert [pictures.size(image_id) for image_id in ("9", "é", "none", "\udcff")] == [(6, 8), None, None, None]


def test_a_picture_may_be_listed_again_and_an_id_is_of_one_alone(pictures):
    pictures.add([picture("a"), picture("b"), picture("a")])
    pictures.add([picture("a")])
    assert pictures.count() == 2
    with pytest.raises(UserError, match="image id b is in two parts of the data set"):
        pictures.add([picture("c"), picture("b", part=1)])
    with pytest.raises(UserError, match=r"x\.jpg: the image id a is another's, too \(a\.jpg\)"):
        pictures.add([picture("a", path="x.jpg")])


def test_what_is_missing_is_kept_whatever_it_is_called(pictures):
    pictures.miss("b\udcff", "failed", "not\nfound", listed=False)
    pictures.miss("a", "missing_image", "gone", listed=True)
    assert list(pictures.missing()) == [["a", "missing_image", "gone"], ["b\udcff", "failed", "not\nfound"]]
    assert pictures.count_missing(listed=True) == pictures.count_missing(listed=False) == 1


def test_of_equal_pictures_those_of_one_source_are_kept(pictures):
    rows = [("a1", 0, "train", "x"), ("a2", 0, "train", "x"), ("b1", 1, "val", "x"), ("b2", 2, "train", "x")]
    rows += [("a3", 0, "train", "y"), ("b3", 2, "train", "y"), ("c3", 3, "train", "y"), ("c4", 3, "train", "z")]
    pictures.add(picture(*row[:2], split=row[2], sha256=row[3]) for row in rows)
    assert list(pictures.drop_repeated({0: 0, 1: 1, 2: 1, 3: 2})) == [
        ("a1", "b1"),
        ("a2", "b1"),
        ("b3", "a3"),
        ("c3", "a3"),
    ]
    assert [listed.image_id for listed in pictures.usable()] == ["a3", "b1", "b2", "c4"]


def test_pictures_go_in_runs_by_their_ids_and_those_of_files_that_hold_many_by_their_paths(pictures):
    rows = [("z", "a.tar#1"), ("y", "a.tar#2"), ("x", "b.tar#1"), ("w", "b.tar#2")]
    held = [picture(i, path=path, sha256="0")._replace(packed=True) for i, path in rows]
    pictures.add([*held, *(picture(i, sha256="0", split=split) for i, split in zip("defg", ["train", "val"] * 2))])
    pictures.add([picture("bad")])
    pictures.assign(4)
    assert [pictures.shard(i) for i in "zyxwdefg"] == [0, 0, 1, 1, 2, 2, 3, 3] and pictures.shard("bad") is None


def test_of_several_sources_pictures_go_in_runs_of_one_source_after_the_other(pictures):
    pictures.add(picture(f"b/{i}", path=f"a{i}.jpg", sha256="0") for i in range(4))
    pictures.add(picture(f"a/{i}", path=f"{9 - i}.tar#0", sha256="0")._replace(packed=True) for i in range(4))
    pictures.assign(4, sources=True)
    assert [pictures.shard(f"a/{i}") for i in range(4)] == [1, 1, 0, 0]
    assert [pictures.shard(f"b/{i}") for i in range(4)] == [2, 2, 3, 3]
