"""Contact sheets: one row of panels a (scene, noun), drawn with OpenCV."""

import cv2
import numpy as np

from structures.masks import decode

GREEN, RED, WHITE, YELLOW = (60, 220, 90), (235, 60, 60), (255, 255, 255), (250, 210, 40)
COLOURS = (GREEN, (70, 150, 250), (250, 140, 40), (220, 80, 220), (60, 220, 220), YELLOW)
_HEADER = 22
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def heat(image: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """A map of cells (0..1) over a darkened picture, warm where it is active."""
    height, width = image.shape[:2]
    large = cv2.resize(np.clip(grid, 0, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    colours = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.4 * image + 0.6 * colours).astype(np.uint8)


def heat_in_box(image: np.ndarray, grid: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A map of cells (0..1) that covers a box (xyxy pixels) alone, as heat draws it."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(v) for v in (*np.floor(box[:2]), *np.ceil(box[2:])))
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    full = np.zeros((height, width), np.float32)
    full[y0:y1, x0:x1] = cv2.resize(grid.astype(np.float32), (max(1, x1 - x0), max(1, y1 - y0)))
    return heat(image, full)


def boxes(image: np.ndarray, xyxy: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
    """Proposals in thin white, the chosen one in thick green."""
    drawn = image.copy()
    for box in xyxy:
        x0, y0, x1, y1 = (round(float(v)) for v in box)
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), WHITE, 1)
    if chosen is not None:
        x0, y0, x1, y1 = (round(float(v)) for v in chosen)
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), GREEN, 2)
    return drawn


def masks(image: np.ndarray, found: list[np.ndarray], colour: tuple[int, int, int]) -> np.ndarray:
    """Bool masks as tinted, outlined regions."""
    drawn = image.copy()
    for mask in found:
        drawn[mask] = (0.5 * drawn[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour, 1)
    return drawn


def detections_drawn(image: np.ndarray, rows: list[dict]) -> np.ndarray:
    """Detections (rows with category, score, bbox, segmentation) over a picture, each in a colour and with its name."""
    drawn = image
    for i, row in enumerate(rows):
        drawn = masks(drawn, [decode(row["segmentation"])], COLOURS[i % len(COLOURS)])
    drawn = drawn.copy()
    scale = max(0.32, max(image.shape[:2]) / 1600)
    for row in rows:
        label(drawn, row["bbox"][0], row["bbox"][1] + 28 * scale, f"{row['category']} {row['score']:.2f}", scale)
    return drawn


def label(image: np.ndarray, x: float, y: float, text: str, scale: float = 0.32) -> None:
    """Write a short text into a picture at a pixel, readable on any ground."""
    place, thick = (max(0, int(x)), max(9, int(y))), max(1, round(1.5 * scale))
    cv2.putText(image, text, place, _FONT, scale, (0, 0, 0), 2 * thick, cv2.LINE_AA)
    cv2.putText(image, text, place, _FONT, scale, YELLOW, thick, cv2.LINE_AA)


def panel(image: np.ndarray, title: str, zoom: int) -> np.ndarray:
    """A picture scaled into zoom x zoom under its title."""
    scale = zoom / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shown = np.full((zoom + _HEADER, zoom, 3), 30, np.uint8)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    shown[_HEADER : _HEADER + size[1], : size[0]] = resized
    cv2.putText(shown, title, (4, 15), _FONT, 0.4, WHITE, 1, cv2.LINE_AA)
    return shown


def sheet(rows: list[list[np.ndarray]], caption: str) -> np.ndarray:
    """Rows of panels under a caption; all panels of one size, short rows filled up."""
    widest = max(len(row) for row in rows)
    blank = np.full_like(rows[0][0], 30)
    body = np.concatenate([np.concatenate(row + [blank] * (widest - len(row)), axis=1) for row in rows], axis=0)
    head = np.full((26, body.shape[1], 3), 30, np.uint8)
    cv2.putText(head, caption, (4, 18), _FONT, 0.45, YELLOW, 1, cv2.LINE_AA)
    return np.concatenate([head, body], axis=0)


def encode_png(image: np.ndarray) -> bytes:
    """An RGB picture as the bytes of a PNG file."""
    ok, data = cv2.imencode(".png", image[..., ::-1])
    if not ok:
        raise ValueError("a picture could not be encoded")
    return data.tobytes()
