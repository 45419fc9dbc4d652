"""The embedded world."""

import numpy as np
from pycocotools import mask as coco_mask

from sources.coco import read_coco
from sources.toy.captions import IRREGULAR_PLURALS, SYNONYMS, words
from sources.toy.drawings import CATEGORIES
from sources.toy.scenes import PURPOSES, draw_object, draw_scene, scene_rng, write_split


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
        assert np.sum([object_.mask for object_ in scene.objects], axis=0).max() == 1
        categories = {object_.category for object_ in scene.objects}
        assert all(names and names <= categories for _, names in scene.captions)


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
    data = read_coco(tmp_path, "train", "annotations/instances_train.json", "annotations/captions_train.json")
    assert len(data.images) == 5 and len(data.captions) == 10 and not data.faults
    for i, (image_id, (path, width, height)) in enumerate(sorted(data.images.items())):
        scene = draw_scene(scene_rng(1, "train", i))
        assert scene.image.shape[:2] == (height, width) and (tmp_path / path).exists()
        masks = [coco_mask.decode(a["segmentation"]) for a in data.annotations if a["image_id"] == image_id]
        for object_, mask in zip(scene.objects, masks, strict=True):
            np.testing.assert_array_equal(object_.mask, mask.astype(bool))
