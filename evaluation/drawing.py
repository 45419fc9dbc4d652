"""Pictures with maps, boxes and masks drawn on them, and contact sheets of such panels, by OpenCV.

All pictures are height x width x 3 uint8 RGB; functions give a new picture unless they say otherwise.
"""

import cv2
import numpy as np

from structures.masks import decode

GREEN, RED, WHITE, YELLOW = (60, 220, 90), (235, 60, 60), (255, 255, 255), (250, 210, 40)
COLOURS = (GREEN, (70, 150, 250), (250, 140, 40), (220, 80, 220), (60, 220, 220), YELLOW)
_GROUND = 30  # grey level around panels
_TITLE_HEIGHT, _CAPTION_HEIGHT = 22, 26  # pixels
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_heatmap(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """A map of h x w cells (0..1) over a darkened picture, warm where it is active."""
    height, width = image.shape[:2]
    large = cv2.resize(np.clip(activation, 0, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    colours = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.4 * image + 0.6 * colours).astype(np.uint8)


def draw_heatmap_in_box(image: np.ndarray, activation: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A map of h x w cells (0..1) that covers a box (xyxy pixels) alone, as draw_heatmap draws it."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(v) for v in (*np.floor(box[:2]), *np.ceil(box[2:])))
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    full = np.zeros((height, width), np.float32)
    full[y0:y1, x0:x1] = cv2.resize(activation.astype(np.float32), (max(1, x1 - x0), max(1, y1 - y0)))
    return draw_heatmap(image, full)


def draw_boxes(image: np.ndarray, boxes: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
    """N x 4 boxes (xyxy pixels) in thin white, the chosen one, if any, in thick green."""
    picture = image.copy()
    for box in boxes:
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), WHITE, 1)
    if chosen is not None:
        x0, y0, x1, y1 = (round(float(v)) for v in chosen)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), GREEN, 2)
    return picture


def draw_masks(image: np.ndarray, masks: list[np.ndarray], colour: tuple[int, int, int]) -> np.ndarray:
    """Bool masks of the picture's shape as tinted, outlined regions."""
    picture = image.copy()
    for mask in masks:
        picture[mask] = (0.5 * picture[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1)
    return picture


def draw_detections(image: np.ndarray, detections: list[dict]) -> np.ndarray:
    """Rows of `detections` (category, score, bbox, segmentation) over a picture, each in a colour and with its name."""
    picture = image.copy()
    for i, row in enumerate(detections):
        picture = draw_masks(picture, [decode(row["segmentation"])], COLOURS[i % len(COLOURS)])
    scale = max(0.32, max(image.shape[:2]) / 1600)
    for row in detections:
        x, y = row["bbox"][:2]
        write_label(picture, x, y + 28 * scale, f"{row['category']} {row['score']:.2f}", scale)
    return picture


def write_label(image: np.ndarray, x: float, y: float, text: str, scale: float = 0.32) -> None:
    """Write a short text into the picture itself, from a pixel on, readable on any ground."""
    origin, thickness = (max(0, int(x)), max(9, int(y))), max(1, round(1.5 * scale))
    cv2.putText(image, text, origin, _FONT, scale, (0, 0, 0), 2 * thickness, cv2.LINE_AA)
    cv2.putText(image, text, origin, _FONT, scale, YELLOW, thickness, cv2.LINE_AA)


def panel(image: np.ndarray, title: str, side: int) -> np.ndarray:
    """A picture scaled into side x side pixels under its title."""
    scale = side / max(image.shape[:2])
    width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.full((side + _TITLE_HEIGHT, side, 3), _GROUND, np.uint8)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    canvas[_TITLE_HEIGHT : _TITLE_HEIGHT + height, :width] = scaled
    cv2.putText(canvas, title, (4, 15), _FONT, 0.4, WHITE, 1, cv2.LINE_AA)
    return canvas


def contact_sheet(rows: list[list[np.ndarray]], caption: str) -> np.ndarray:
    """Rows of panels under a caption; all panels of one size, short rows filled up."""
    columns = max(len(row) for row in rows)
    blank = np.full_like(rows[0][0], _GROUND)
    body = np.concatenate([np.concatenate(row + [blank] * (columns - len(row)), axis=1) for row in rows], axis=0)
    head = np.full((_CAPTION_HEIGHT, body.shape[1], 3), _GROUND, np.uint8)
    cv2.putText(head, caption, (4, 18), _FONT, 0.45, YELLOW, 1, cv2.LINE_AA)
    return np.concatenate([head, body], axis=0)


def encode_png(image: np.ndarray) -> bytes:
    """The picture as the bytes of a PNG file. Raises ValueError where OpenCV can't write it."""
    encoded, data = cv2.imencode(".png", image[..., ::-1])
    if not encoded:
        raise ValueError(f"a picture of shape {image.shape} can't be a PNG file")
    return data.tobytes()
