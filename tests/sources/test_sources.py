"""The embedded world and the COCO reader."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sources.coco import SourceError, encode_segmentation, instances_json, read_split
from sources.toy import PURPOSES, draw_object, draw_scene, scene_rng, write_split
from sources.toy_captions import IRREGULAR_PLURALS, SYNONYMS, words
from sources.toy_drawings import CATEGORIES
from sources.vocabulary import VocabularyError, read_vocabulary
from store.fingerprint import ROOT


def test_the_world_has_enough_of_the_papers_categories():
    vocabulary = read_vocabulary(ROOT / "data" / "splits" / "toy.json")
    coco = read_vocabulary(ROOT / "data" / "splits" / "coco.json")
    assert len(coco.base) == 48 and len(coco.novel) == 17
    assert len(vocabulary.base) >= 16 and len(vocabulary.novel) >= 8
    assert set(vocabulary.base) <= set(coco.base) and set(vocabulary.novel) <= set(coco.novel)
    assert set(vocabulary.names) == set(CATEGORIES)
    assert all(len(category.drawings) >= 2 for category in CATEGORIES.values())


def test_a_scene_can_be_drawn_again_and_purposes_never_share_one():
    first, again = (draw_scene(scene_rng(1, "train", 5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.captions == again.captions
    others = [draw_scene(scene_rng(1, purpose, 5)).image for purpose in PURPOSES if purpose != "train"]
    assert not any(other.shape == first.image.shape and (other == first.image).all() for other in others)


def test_scenes_are_large_enough_and_their_masks_do_not_overlap():
    for i in range(20):
        scene = draw_scene(scene_rng(2, "val", i))
        assert min(scene.image.shape[:2]) >= 128 and scene.objects
        assert np.sum([drawn.mask for drawn in scene.objects], axis=0).max() == 1
        drawn = {thing.category for thing in scene.objects}
        assert all(names and names <= drawn for _, names in scene.captions)


def test_captions_use_synonyms_plurals_and_leave_things_out():
    scenes = [draw_scene(scene_rng(3, "train", i)) for i in range(150)]
    text = " ".join(caption for scene in scenes for caption, _ in scene.captions)
    assert "kitchen" in text and any(word in text for word in ("cats", "birds", "cars"))
    assert any(word in text for words_ in SYNONYMS.values() for word in words_)
    silent = [s for s in scenes for _, names in s.captions if names < {o.category for o in s.objects}]
    assert silent
    known = set(words()) | set(IRREGULAR_PLURALS.values())
    for word in text.replace(",", " ").replace(".", " ").split():
        assert word in known or word.removesuffix("s") in known or word.removesuffix("es") in known, word


def test_a_drawn_object_is_a_picture_of_its_category():
    picture, category = draw_object(np.random.default_rng(0), 48)
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8 and category in CATEGORIES


def test_the_world_is_written_as_coco_and_read_back(tmp_path):
    write_split(tmp_path, "train", 5, 1)
    split = read_split(tmp_path, "train", "annotations/instances_train.json", "annotations/captions_train.json")
    assert len(split.images) == 5 and len(split.captions) == 10 and not split.faults
    for i, (image_id, (path, width, height)) in enumerate(sorted(split.images.items())):
        scene = draw_scene(scene_rng(1, "train", i))
        assert scene.image.shape[:2] == (height, width) and (tmp_path / path).exists()
        masks = [coco_mask.decode(a["segmentation"]) for a in split.annotations if a["image_id"] == image_id]
        for drawn, mask in zip(scene.objects, masks, strict=True):
            np.testing.assert_array_equal(drawn.mask, mask.astype(bool))


def test_polygons_and_both_kinds_of_rle_are_one_mask():
    mask = np.zeros((12, 10), np.uint8)
    mask[2:8, 3:9] = 1
    compressed = coco_mask.encode(np.asfortranarray(mask))
    runs = [0]
    for value in mask.T.ravel():
        if value == (len(runs) - 1) % 2:
            runs[-1] += 1
        else:
            runs.append(1)
    forms = (
        [[3, 2, 9, 2, 9, 8, 3, 8]],
        {"size": [12, 10], "counts": runs},
        {"size": [12, 10], "counts": compressed["counts"].decode()},
    )
    for form in forms:
        np.testing.assert_array_equal(coco_mask.decode(encode_segmentation(form, 12, 10)), mask)


@pytest.mark.parametrize("bad", [[], [[1, 2]], {"counts": 3}, None, {"size": [5, 5], "counts": "11"}])
def test_a_segmentation_that_is_no_mask_is_refused(bad):
    with pytest.raises(ValueError):
        encode_segmentation(bad, 12, 10)


def test_ids_that_are_words_are_kept():
    rows = [
        {"image_id": "0a1f", "path": "x/0a1f.jpg", "width": 4, "height": 3},
        {"image_id": "17", "path": "17.jpg", "width": 4, "height": 3},
    ]
    content = json.loads(json.dumps(instances_json(rows, [], ("cat",))))
    assert [image["id"] for image in content["images"]] == ["0a1f", 17]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "no vocabulary file"),
        ('{"novel": ["a"]}', "base"),
        ('{"base": ["cat"], "novel": ["cat"]}', "'cat' stands twice"),
        ('{"base": ["cat"], "synonyms": {"dog": ["hound"]}}', "synonyms of 'dog'"),
        ('{"base": []}', "no category"),
    ],
)
def test_a_bad_vocabulary_names_the_entry(tmp_path, content, told):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(VocabularyError, match=told):
        read_vocabulary(tmp_path / "v.json")


def test_json_without_images_is_refused(tmp_path):
    (tmp_path / "captions.json").write_text('{"annotations": []}')
    with pytest.raises(SourceError, match="has no list images"):
        read_split(tmp_path, "pictures", captions="captions.json")
