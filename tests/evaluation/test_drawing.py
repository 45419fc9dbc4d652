"""Drawn pictures: what is marked, and what is left alone."""

import cv2
import numpy as np

from evaluation import drawing
from structures.masks import encode

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def changed(picture: np.ndarray) -> np.ndarray:
    return (picture != IMAGE).any(-1)


def test_nothing_is_drawn_into_the_picture_itself():
    before = IMAGE.copy()
    mask = np.zeros((60, 80), bool)
    mask[10:20, 30:50] = True
    box = np.array([5.0, 6, 40, 50])
    row = {"category": "cat", "score": 0.5, "bbox": [30.0, 10, 20, 10], "segmentation": encode(mask)}
    drawing.draw_heatmap(IMAGE, np.ones((2, 2)))
    drawing.draw_heatmap_in_box(IMAGE, np.ones((2, 2)), box)
    drawing.draw_boxes(IMAGE, box[None], box)
    drawing.draw_masks(IMAGE, [mask], drawing.RED)
    drawing.draw_detections(IMAGE, [row])
    assert not changed(drawing.draw_detections(IMAGE, [])).any()
    np.testing.assert_array_equal(IMAGE, before)


def test_a_heatmap_is_brightest_where_the_map_is_active():
    activation = np.zeros((3, 4))
    activation[1, 2] = 1
    brightness = drawing.draw_heatmap(np.zeros_like(IMAGE), activation).sum(-1)
    active = np.zeros((60, 80), bool)
    active[20:40, 40:60] = True
    assert brightness[active].min() > brightness[~active].max()


def test_a_heatmap_in_a_box_stays_inside_it_even_at_the_border():
    brightness = drawing.draw_heatmap_in_box(np.zeros_like(IMAGE), np.ones((5, 5)), np.array([-4, 10.5, 30.2, 90]))
    inside = np.zeros((60, 80), bool)
    inside[10:60, 0:31] = True
    assert brightness.sum(-1)[inside].min() > brightness.sum(-1)[~inside].max()


def test_boxes_are_outlined_within_their_edges():
    picture = drawing.draw_boxes(np.zeros_like(IMAGE), np.array([[10.0, 20, 30, 50]]), None)
    ys, xs = np.nonzero(picture.any(-1))
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (10, 20, 30, 50)
    assert not picture[21:49, 11:29].any()
    chosen = drawing.draw_boxes(np.zeros_like(IMAGE), np.zeros((0, 4)), np.array([10.0, 20, 30, 50]))
    assert tuple(chosen[20, 20]) == drawing.GREEN


def test_masks_are_tinted_and_the_rest_is_left_alone():
    mask = np.zeros((60, 80), bool)
    mask[10:20, 30:50] = True
    picture = drawing.draw_masks(IMAGE, [mask], drawing.RED)
    np.testing.assert_array_equal(picture[~mask], IMAGE[~mask])
    np.testing.assert_array_equal(picture[15, 40], (0.5 * IMAGE[15, 40] + 0.5 * np.array(drawing.RED)).astype(np.uint8))
    assert tuple(picture[10, 30]) == drawing.RED


def test_a_contact_sheet_holds_its_panels_and_fills_short_rows():
    panels = [drawing.panel(IMAGE, f"panel {i}", 64) for i in range(3)]
    assert panels[0].shape == (64 + 22, 64, 3)
    sheet = drawing.contact_sheet([panels[:2], panels[2:]], "a caption")
    assert sheet.shape == (26 + 2 * 86, 2 * 64, 3)
    np.testing.assert_array_equal(sheet[26:112, 64:], panels[1])
    assert (sheet[112:, 64:] == 30).all()


def test_a_png_holds_the_picture():
    content = np.frombuffer(drawing.encode_png(IMAGE), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1], IMAGE)
