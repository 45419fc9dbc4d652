"""Draw contact sheets: what each step made of a dozen training images, what each detector finds in a dozen others."""

from collections.abc import Collection, Iterable

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
    if job.has("gradcam"):
        _draw_labels(job)
    _draw_detections(job)
    if job.has("label_noise"):
        _draw_noise(job)


def _rows_of(job, table: str, images: Collection[str]) -> dict[str, list[dict]]:
    """{image_id: its rows of a table} of some images."""
    rows: dict[str, list[dict]] = {image_id: [] for image_id in images}
    for row in job.rows(table, where={"image_id": images}):
        rows[row["image_id"]].append(row)
    return rows


def _truth(job, images: Collection[str]) -> dict[tuple[str, str], list[dict]]:
    """{(image_id, category): true masks} of some images."""
    truth: dict[tuple[str, str], list[dict]] = {}
    for image_id, rows in _rows_of(job, "annotations", images).items():
        for row in rows:
            outlines = truth.setdefault((image_id, row["category"]), [])
            if row["segmentation"] is not None:
                outlines.append(row["segmentation"])
    return truth


def _draw_labels(job) -> None:
    """A sheet of each of some training images: maps, proposals, pseudo-masks of every noun."""
    from itertools import groupby

    import numpy as np

    from evaluation import drawing
    from models.grounding.maps import activation_maps
    from structures.masks import decode

    p = job.params
    mapped = (image_id for image_id, _ in groupby(row["image_id"] for row in job.rows("gradcam", ["image_id"])))
    chosen = _evenly_spread(mapped, job.count_images("gradcam"), p.scenes)
    images, pairs, nouns = (_rows_of(job, table, chosen) for table in ("images", "gradcam", "nouns"))
    proposed, boxed = (_rows_of(job, table, chosen) for table in ("wspn_proposals", "pseudo_boxes"))
    boxes = {(r["image_id"], r["category"]): r["box"] for rows in boxed.values() for r in rows if r["instance"] == 0}
    labels = {
        title: _masks(job.rows(table, where={"image_id": chosen})) for table, title in LABELS.items() if job.has(table)
    }
    has_truth, truth = bool(job.count("annotations")), _truth(job, chosen)
    for i, image_id in enumerate(chosen):
        [row] = images[image_id]
        image = _picture(job, row)
        of_image = proposed[image_id][0]["boxes"] if proposed[image_id] else np.zeros((0, 4))
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
            if has_truth:
                true_masks = [decode(segmentation) for segmentation in truth.get(key, [])]
                panels.append((drawing.draw_masks(image, true_masks, drawing.RED), "truth"))
            rows.append([drawing.panel(picture, title, p.zoom) for picture, title in panels])
        texts = {noun["caption_id"]: noun["text"] for noun in nouns[image_id]}
        caption = texts[pairs[image_id][0]["caption_id"]]
        _save(job, f"train_{i:02d}", rows, f"{image_id}: {caption}")


def _masks(rows: Iterable[dict]) -> dict[tuple[str, str], list]:
    """The decoded masks of rows, by image and category."""
    from structures.masks import decode

    masks: dict[tuple[str, str], list] = {}
    for row in rows:
        masks.setdefault((row["image_id"], row["category"]), []).append(decode(row["segmentation"]))
    return masks


def _draw_noise(job) -> None:
    """The most and the least reliable labels of the student, with the noise that it sees in them (XPM, Fig. 3)."""
    from heapq import nlargest, nsmallest

    from evaluation import drawing
    from structures.masks import decode

    key = ("image_id", "category", "instance", "source")
    half = min(job.params.scenes // 2 + 1, job.count("label_noise") // 2)

    def place(item: tuple[int, dict]) -> tuple:
        return -item[1]["alpha"], item[0]

    least = nlargest(half, enumerate(job.rows("label_noise")), key=place)[::-1]
    chosen = [row for _, row in [*nsmallest(half, enumerate(job.rows("label_noise")), key=place), *least]]
    ids = {row["image_id"] for row in chosen}
    images, truth, has_truth = _rows_of(job, "images", ids), _truth(job, ids), bool(job.count("annotations"))
    of_images = job.rows("student_labels", where={"image_id": ids})
    labels = {tuple(row[name] for name in key): row for row in of_images}
    highest = max((float(row["variance"].max()) for row in chosen), default=1.0)
    rows = []
    for row in chosen:
        label = labels[tuple(row[name] for name in key)]
        image = _picture(job, images[row["image_id"]][0])
        noise = row["variance"].astype("float32").reshape(row["side"], row["side"]) / highest
        title = f"{row['category']} ({row['source']}), alpha {row['alpha']:.2f}"
        panels = [
            (drawing.draw_masks(image, [decode(label["segmentation"])], drawing.GREEN), title),
            (drawing.draw_heatmap_in_box(image, noise, label["box"]), f"noise {row['noise']:.2f}"),
        ]
        if has_truth:
            true_masks = [decode(segmentation) for segmentation in truth.get((row["image_id"], row["category"]), [])]
            panels.append((drawing.draw_masks(image, true_masks, drawing.RED), "truth"))
        rows.append([drawing.panel(picture, title, job.params.zoom) for picture, title in panels])
    if rows:
        sides = [left + right for left, right in zip(rows[:half], rows[half:])]
        _save(job, "noise", sides, "left: most reliable labels, right: least reliable")


def _draw_detections(job) -> None:
    """One sheet of validation images: the picture, what each detector finds, the truth where it is known."""
    from evaluation import drawing
    from structures.masks import decode

    chosen = _evenly_spread((row["image_id"] for row in job.images("val")), job.count_split("val"), job.params.scenes)
    images, truth, has_truth = _rows_of(job, "images", chosen), _truth(job, chosen), bool(job.count("annotations"))
    detections: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections", where={"image_id": chosen, "vocabulary": ["all"]}):
        if row["score"] >= MIN_SCORE:
            detections.setdefault((row["detector"], row["image_id"]), []).append(row)
    rows = []
    for image_id in chosen:
        image = _picture(job, images[image_id][0])
        panels = [(image, image_id)]
        for detector in job.parts("detections"):
            clearest = _clearest(detections.get((detector, image_id), []))
            panels.append((drawing.draw_detections(image, clearest), detector))
        if has_truth:
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


def _evenly_spread(ids: Iterable[str], total: int, count: int) -> list[str]:
    """`count` of `total` ids in order, evenly spread."""
    from itertools import islice

    return list(islice(ids, 0, count * max(1, total // count), max(1, total // count)))


if __name__ == "__main__":
    STAGE.main(run)
