"""Choosing boxes by activation (Mask-free OVIS, Eq. 6):  b* = argmax over proposals of (sum of Phi inside b) / sqrt|b|."""

import numpy as np


def activation_sums(activation: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The sum of the activation over the pixels of each box.

    activation: h x w cells of a height x width picture, each as large as its pixels (nearest neighbour); boxes: N x 4
    xyxy pixels. An integral image over the cells, read between them linearly, is exact for any box. Returns N float64.
    """
    rows, columns = activation.shape
    integral = np.zeros((rows + 1, columns + 1))
    integral[1:, 1:] = activation.astype(np.float64).cumsum(0).cumsum(1)
    x = np.clip(boxes[:, [0, 2]].astype(np.float64) * columns / width, 0, columns)
    y = np.clip(boxes[:, [1, 3]].astype(np.float64) * rows / height, 0, rows)

    def at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        i, j = np.minimum(y.astype(int), rows - 1), np.minimum(x.astype(int), columns - 1)
        v, u = y - i, x - j
        top = integral[i, j] * (1 - u) + integral[i, j + 1] * u
        bottom = integral[i + 1, j] * (1 - u) + integral[i + 1, j + 1] * u
        return top * (1 - v) + bottom * v

    inside = at(y[:, 1], x[:, 1]) - at(y[:, 0], x[:, 1]) - at(y[:, 1], x[:, 0]) + at(y[:, 0], x[:, 0])
    return np.maximum(inside, 0) * (height / rows) * (width / columns)


def covered_share(shape: tuple[int, int], box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The share of each of h x w cells of a picture that a box (xyxy pixels) covers, 0 to 1."""
    rows, columns = shape
    y = np.clip(np.array([box[1], box[3]]) * rows / height, 0, rows)
    x = np.clip(np.array([box[0], box[2]]) * columns / width, 0, columns)
    i, j = np.arange(rows), np.arange(columns)
    tall = np.clip(np.minimum(i + 1, y[1]) - np.maximum(i, y[0]), 0, 1)
    wide = np.clip(np.minimum(j + 1, x[1]) - np.maximum(j, x[0]), 0, 1)
    return tall[:, None] * wide[None, :]


def select_boxes(
    activation: np.ndarray, boxes: np.ndarray, *, height: int, width: int, instances: int = 1, min_share: float = 0.0
) -> list[tuple[int, float, float]]:
    """The best box for an activation, and further ones for what activation is left.

    activation: h x w, at least 0; boxes: N x 4 xyxy pixels, all of positive area; instances: how many at most; a
    further box must hold min_share of the whole activation. Returns (index of the box, score of Eq. 6, share of the
    whole activation inside) for each; nothing where the activation is zero everywhere.
    """
    areas = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (boxes[:, 3] - boxes[:, 1])
    total = float(activation.astype(np.float64).sum()) * (height / activation.shape[0]) * (width / activation.shape[1])
    if total <= 0:
        return []
    left, chosen = activation.astype(np.float64), []
    for instance in range(instances):
        sums = activation_sums(left, boxes, height, width)
        scores = sums / np.sqrt(areas)
        best = int(scores.argmax())
        share = float(sums[best] / total)
        if instance and share < min_share:
            break
        chosen.append((best, float(scores[best]), share))
        left = left * (1 - covered_share(left.shape, boxes[best], height, width))
    return chosen
