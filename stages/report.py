"""Draw contact sheets: what each step made of a dozen training images, what each detector finds in a dozen others."""

from collections.abc import Iterable

from pipeline.conditions import estimates_noise, later_round, uses_ovis_labels
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="report",
    reads=(
        "images",
        "nouns",
        "annotations",
        Input("gradcam", when=uses_ovis_labels),
        Input("wspn_proposals", when=uses_ovis_labels),
        Input("pseudo_boxes", when=uses_ovis_labels),
        Input("pseudo_masks", when=uses_ovis_labels),
        Input("round_masks", when=lambda config: uses_ovis_labels(config) and later_round(config)),
        "detections",
        Input("student_labels", when=estimates_noise),
        Input("label_noise", when=estimates_noise),
    ),
    writes=("report",),
    threads=1,
)
LABELS = {"pseudo_masks": "pseudo-mask", "round_masks": "of the last round"}  # table: title
MIN_SCORE, MAX_OVERLAP = 0.5, 0.4  # of the detections that are drawn


def run(job) -> None:
    from evaluation.ground_truth import annotations_by_image_and_category

    images = {row["image_id"]: row for row in job.rows("images")}
    objects = annotations_by_image_and_category(job.rows("annotations"))
    truth = {
        key: [row["segmentation"] for row in rows if row["segmentation"] is not None] for key, rows in objects.items()
    }
    if job.has("gradcam"):
        _draw_labels(job, images, truth)
    _draw_detections(job, images, truth)
    if job.has("label_noise"):
        _draw_noise(job, images, truth)


def _draw_labels(job, images: dict, truth: dict) -> None:
    """A sheet of each of some training images: maps, proposals, pseudo-masks of every noun."""
    import numpy as np

    from evaluation import drawing
    from models.grounding.maps import activation_maps
    from structures.masks import decode

    p = job.params
    texts = {(row["image_id"], row["caption_id"]): row["text"] for row in job.rows("nouns")}
    pairs: dict[str, list[dict]] = {}
    for row in job.rows("gradcam"):
        pairs.setdefault(row["image_id"], []).append(row)
    chosen = _evenly_spread(sorted(pairs), p.scenes)
    proposals = {row["image_id"]: row["boxes"] for row in job.rows("wspn_proposals") if row["image_id"] in chosen}
    boxes = {(r["image_id"], r["category"]): r["box"] for r in job.rows("pseudo_boxes") if r["instance"] == 0}
    labels = {title: _masks(job.rows(table), set(chosen)) for table, title in LABELS.items() if job.has(table)}
    for i, image_id in enumerate(chosen):
        image = _picture(job, images[image_id])
        of_image = proposals.get(image_id, np.zeros((0, 4)))
        rows = []
        for pair in pairs[image_id]:
            key = image_id, pair["category"]
            maps = activation_maps(pair)
            panels = [
                (image, pair["category"]),
                (drawing.draw_heatmap(image, maps[0]), "activation, G = 1"),
                (drawing.draw_heatmap(image, maps.max(0)), f"activation, G = {len(maps)}"),
                (drawing.draw_boxes(image, of_image, boxes.get(key)), f"{len(of_image)} proposals, chosen"),
            ]
            for title, masks in labels.items():
                panels.append((drawing.draw_masks(image, masks.get(key, []), drawing.GREEN), title))
            if truth:
                true_masks = [decode(segmentation) for segmentation in truth.get(key, [])]
                panels.append((drawing.draw_masks(image, true_masks, drawing.RED), "truth"))
            rows.append([drawing.panel(picture, title, p.zoom) for picture, title in panels])
        caption = texts[image_id, pairs[image_id][0]["caption_id"]]
        _save(job, f"train_{i:02d}", rows, f"{image_id}: {caption}")


def _masks(rows: Iterable[dict], images: set[str]) -> dict[tuple[str, str], list]:
    """The decoded masks of some images, by image and category."""
    from structures.masks import decode

    masks: dict[tuple[str, str], list] = {}
    for row in rows:
        if row["image_id"] in images:
            masks.setdefault((row["image_id"], row["category"]), []).append(decode(row["segmentation"]))
    return masks


def _draw_noise(job, images: dict, truth: dict) -> None:
    """The most and the least reliable labels of the student, with the noise that it sees in them (XPM, Fig. 3)."""
    from evaluation import drawing
    from structures.masks import decode

    key = ("image_id", "category", "instance", "source")
    noises = sorted(job.rows("label_noise"), key=lambda row: -row["alpha"])
    half = min(job.params.scenes // 2 + 1, len(noises) // 2)
    chosen = noises[:half] + noises[len(noises) - half :]
    keys = {tuple(row[name] for name in key) for row in chosen}
    labels = {tuple(row[name] for name in key): row for row in job.rows("student_labels")}
    labels = {name: labels[name] for name in keys}
    highest = max((float(row["variance"].max()) for row in chosen), default=1.0)
    rows = []
    for row in chosen:
        label = labels[tuple(row[name] for name in key)]
        image = _picture(job, images[row["image_id"]])
        noise = row["variance"].astype("float32").reshape(row["side"], row["side"]) / highest
        title = f"{row['category']} ({row['source']}), alpha {row['alpha']:.2f}"
        panels = [
            (drawing.draw_masks(image, [decode(label["segmentation"])], drawing.GREEN), title),
            (drawing.draw_heatmap_in_box(image, noise, label["box"]), f"noise {row['noise']:.2f}"),
        ]
        if truth:
            true_masks = [decode(segmentation) for segmentation in truth.get((row["image_id"], row["category"]), [])]
            panels.append((drawing.draw_masks(image, true_masks, drawing.RED), "truth"))
        rows.append([drawing.panel(picture, title, job.params.zoom) for picture, title in panels])
    if rows:
        sides = [left + right for left, right in zip(rows[:half], rows[half:])]
        _save(job, "noise", sides, "left: most reliable labels, right: least reliable")


def _draw_detections(job, images: dict, truth: dict) -> None:
    """One sheet of validation images: the picture, what each detector finds, the truth where it is known."""
    from evaluation import drawing
    from structures.masks import decode

    detections: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections"):
        if row["vocabulary"] == "all" and row["score"] >= MIN_SCORE:
            detections.setdefault((row["detector"], row["image_id"]), []).append(row)
    rows = []
    val = sorted(image_id for image_id, row in images.items() if row["split"] == "val")
    for image_id in _evenly_spread(val, job.params.scenes):
        image = _picture(job, images[image_id])
        panels = [(image, image_id)]
        for detector in job.parts("detections"):
            clearest = _clearest(detections.get((detector, image_id), []))
            panels.append((drawing.draw_detections(image, clearest), detector))
        if truth:
            of_image = {category: masks for (owner, category), masks in truth.items() if owner == image_id}
            true_masks = [decode(mask) for masks in of_image.values() for mask in masks]
            title = f"truth: {', '.join(sorted(of_image))}"
            panels.append((drawing.draw_masks(image, true_masks, drawing.RED), title))
        rows.append([drawing.panel(picture, title, job.params.zoom) for picture, title in panels])
    half = (len(rows) + 1) // 2
    pairs = [left + right for left, right in zip(rows[:half], rows[half:] + [[]] * (len(rows) % 2))]
    if pairs:
        _save(job, "val", pairs, "validation scenes: picture, detections, truth")


def _picture(job, image: dict):
    from sources.images import read_image

    return read_image(job.root, image["path"], image["sha256"])


def _save(job, name: str, rows: list, caption: str) -> None:
    from evaluation.drawing import contact_sheet, encode_png

    with job.file(f"report/{name}.png") as draft:
        draft.write_bytes(encode_png(contact_sheet(rows, caption)))


def _clearest(detections: list[dict]) -> list[dict]:
    """The detections, best first, without those that mostly repeat a better one of any class."""
    from structures.masks import iou

    clearest: list[dict] = []
    for row in sorted(detections, key=lambda row: -row["score"]):
        if all(iou(row["segmentation"], better["segmentation"]) < MAX_OVERLAP for better in clearest):
            clearest.append(row)
    return clearest


def _evenly_spread(ids: list[str], count: int) -> list[str]:
    """`count` of the ids, evenly spread."""
    return ids[:: max(1, len(ids) // count)][:count]


if __name__ == "__main__":
    STAGE.main(run)
