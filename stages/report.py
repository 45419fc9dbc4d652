"""Draw contact sheets: what each step made of a dozen training images, and what each detector finds in a dozen others."""

from pipeline.conditions import estimates_noise, uses_ovis_labels
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="report",
    reads=(
        "images",
        "nouns",
        "annotations",
        *(
            Input(table, when=uses_ovis_labels)
            for table in ("gradcam", "wspn_proposals", "pseudo_boxes", "pseudo_masks")
        ),
        "detections",
        Input("student_labels", when=estimates_noise),
        Input("label_noise", when=estimates_noise),
    ),
    writes=("report",),
    threads=1,
)
SHOWN_SCORE, SHOWN_OVERLAP = 0.5, 0.4


def run(job) -> None:
    images = {row["image_id"]: row for row in job.rows("images")}
    truth: dict[tuple[str, str], list] = {}
    for row in job.rows("annotations"):
        truth.setdefault((row["image_id"], row["category"]), []).append(row["segmentation"])
    if job.has("gradcam"):
        _draw_labels(job, images, truth)
    _draw_detections(job, images, truth)
    if job.has("label_noise"):
        _draw_noise(job, images, truth)


def _draw_labels(job, images: dict, truth: dict) -> None:
    """A sheet of each of some training images: maps, proposals, pseudo-masks of every noun."""
    import numpy as np

    from evaluation import drawing as sheets
    from sources.images import read_image
    from models.grounding.maps import activation_maps
    from structures.masks import decode

    p = job.params
    texts = {(row["image_id"], row["caption_id"]): row["text"] for row in job.rows("nouns")}
    pairs: dict[str, list[dict]] = {}
    for row in job.rows("gradcam"):
        pairs.setdefault(row["image_id"], []).append(row)
    chosen = _spread(sorted(pairs), p.scenes)
    wanted = set(chosen)
    proposals = {row["image_id"]: row["boxes"] for row in job.rows("wspn_proposals") if row["image_id"] in wanted}
    picked = {(r["image_id"], r["category"]): r["box"] for r in job.rows("pseudo_boxes") if r["instance"] == 0}
    made: dict[tuple[str, str], list] = {}
    for row in job.rows("pseudo_masks"):
        if row["image_id"] in wanted:
            made.setdefault((row["image_id"], row["category"]), []).append(decode(row["segmentation"]))
    for i, image_id in enumerate(chosen):
        image = read_image(job.root, images[image_id]["path"])
        rows = []
        for pair in pairs[image_id]:
            key = image_id, pair["category"]
            grids = activation_maps(pair)
            real = [decode(segmentation) for segmentation in truth.get(key, [])]
            boxes = proposals.get(image_id, np.zeros((0, 4)))
            panels = [
                (image, pair["category"]),
                (sheets.heat(image, grids[0]), "activation, G = 1"),
                (sheets.heat(image, grids.max(0)), f"activation, G = {len(grids)}"),
                (sheets.boxes(image, boxes, picked.get(key)), f"{len(boxes)} proposals, chosen"),
                (sheets.masks(image, made.get(key, []), sheets.GREEN), "pseudo-mask"),
            ]
            if truth:
                panels.append((sheets.masks(image, real, sheets.RED), "truth"))
            rows.append([sheets.panel(picture, title, p.zoom) for picture, title in panels])
        caption = texts[image_id, pairs[image_id][0]["caption_id"]]
        with job.file(f"report/train_{i:02d}.png") as draft:
            draft.write_bytes(sheets.encode_png(sheets.sheet(rows, f"{image_id}: {caption}")))


def _draw_noise(job, images: dict, truth: dict) -> None:
    """The most and the least reliable labels of the student, with the noise that it sees in them (XPM, Fig. 3)."""
    from evaluation import drawing as sheets
    from sources.images import read_image
    from structures.masks import decode

    key = ("image_id", "category", "instance", "source")
    noises = sorted(job.rows("label_noise"), key=lambda row: -row["alpha"])
    half = min(job.params.scenes // 2 + 1, len(noises) // 2)
    chosen = noises[:half] + noises[len(noises) - half :]
    wanted = {tuple(row[name] for name in key) for row in chosen}
    labels = {tuple(row[name] for name in key): row for row in job.rows("student_labels")}
    labels = {name: labels[name] for name in wanted}
    most = max((float(row["variance"].max()) for row in chosen), default=1.0)
    rows = []
    for row in chosen:
        label = labels[tuple(row[name] for name in key)]
        image = read_image(job.root, images[row["image_id"]]["path"])
        grid = row["variance"].astype("float32").reshape(row["side"], row["side"]) / most
        title = f"{row['category']} ({row['source']}), alpha {row['alpha']:.2f}"
        panels = [
            (sheets.masks(image, [decode(label["segmentation"])], sheets.GREEN), title),
            (sheets.heat_in_box(image, grid, label["box"]), f"noise {row['noise']:.2f}"),
        ]
        if truth:
            real = [decode(segmentation) for segmentation in truth.get((row["image_id"], row["category"]), [])]
            panels.append((sheets.masks(image, real, sheets.RED), "truth"))
        rows.append([sheets.panel(picture, title, job.params.zoom) for picture, title in panels])
    if rows:
        sides = [left + right for left, right in zip(rows[:half], rows[half:])]
        with job.file("report/noise.png") as draft:
            draft.write_bytes(
                sheets.encode_png(sheets.sheet(sides, "left: most reliable labels, right: least reliable"))
            )


def _draw_detections(job, images: dict, truth: dict) -> None:
    """One sheet of validation images: the picture, what each detector finds, the truth where it is known."""
    from evaluation import drawing as sheets
    from sources.images import read_image
    from structures.masks import decode

    detectors = job.parts("detections")
    found: dict[tuple[str, str], list[dict]] = {}
    for row in job.rows("detections"):
        if row["vocabulary"] == "all" and row["score"] >= SHOWN_SCORE:
            found.setdefault((row["detector"], row["image_id"]), []).append(row)
    rows = []
    for image_id in _spread(sorted(i for i, row in images.items() if row["split"] == "val"), job.params.scenes):
        image = read_image(job.root, images[image_id]["path"])
        panels = [(image, image_id)]
        for detector in detectors:
            panels.append((sheets.detections_drawn(image, _clearest(found.get((detector, image_id), []))), detector))
        if truth:
            real = {category: masks for (owner, category), masks in truth.items() if owner == image_id}
            shown = sheets.masks(image, [decode(m) for masks in real.values() for m in masks], sheets.RED)
            panels.append((shown, f"truth: {', '.join(sorted(real))}"))
        rows.append([sheets.panel(picture, title, job.params.zoom) for picture, title in panels])
    half = (len(rows) + 1) // 2
    pairs = [left + right for left, right in zip(rows[:half], rows[half:] + [[]] * (len(rows) % 2))]
    if pairs:
        with job.file("report/val.png") as draft:
            draft.write_bytes(sheets.encode_png(sheets.sheet(pairs, "validation scenes: picture, detections, truth")))


def _clearest(detections: list[dict]) -> list[dict]:
    """The detections, best first, without those that mostly repeat a better one of any class."""
    from evaluation.label_quality import iou
    from structures.masks import decode

    kept: list = []
    for row in sorted(detections, key=lambda row: -row["score"]):
        mask = decode(row["segmentation"])
        if all(iou(mask, other) < SHOWN_OVERLAP for _, other in kept):
            kept.append((row, mask))
    return [row for row, _ in kept]


def _spread(ids: list[str], count: int) -> list[str]:
    """`count` of the ids, evenly spread."""
    return ids[:: max(1, len(ids) // count)][:count]


if __name__ == "__main__":
    STAGE.main(run)
