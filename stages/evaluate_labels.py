"""Measure every step before the detector against the truth: maps, iterative masking, proposals, pseudo-masks."""

from pipeline.stage import Stage

STAGE = Stage(
    name="evaluate_labels",
    reads=(
        "images",
        "categories",
        "annotations",
        "nouns",
        "gradcam",
        "proposals",
        "wspn_proposals",
        "pseudo_boxes",
        "pseudo_masks",
    ),
    writes=("label_metrics",),
    shares=("vision_language",),
    gpu=1,
    mem_mb=16000,
    runtime=240,
)


def run(job) -> None:
    import numpy as np

    from evaluation.average_precision import average_precision
    from evaluation.label_quality import best_iou, box_recall, covered, map_mask, pointing_chance, points_at
    from sources.vocabulary import read_vocabulary
    from models.grounding.maps import activation_maps
    from structures.masks import decode
    from structures.progress import progress

    vocabulary = read_vocabulary(job.paths("categories")[0])
    groups = {"base": vocabulary.base, "novel": vocabulary.novel, "all": vocabulary.measured}
    sizes = _measured_images(job)
    objects: dict[tuple[str, str], list] = {}
    known = set(vocabulary.measured)
    truth = [row for row in job.rows("annotations") if row["image_id"] in sizes and row["category"] in known]
    for row in truth:
        objects.setdefault((row["image_id"], row["category"]), []).append(row)
    measured: dict[tuple[str, str, str, str], list[float]] = {}

    def note(protocol: str, kind: str, category: str, metric: str, value: float) -> None:
        for group in (vocabulary.group(category), "all"):
            measured.setdefault((protocol, kind, group, metric), []).append(float(value))

    thresholded: list[dict] = []
    maps = progress(job.rows("gradcam"), description="measuring maps", unit="map", total=job.count("gradcam"))
    for row in maps:
        key = row["image_id"], row["category"]
        grids = activation_maps(row)
        label = _label_of_map(row, map_mask(grids.max(0), sizes[key[0]])) if key[0] in sizes else None
        if label:
            thresholded.append(label)
        if key not in objects:
            continue
        real = [decode(o["segmentation"]) for o in objects[key]]
        union = np.any(real, axis=0)
        note("grounding", "run", key[1], "pointing", points_at(grids[0], union))
        note("grounding", "run", key[1], "pointing_chance", pointing_chance(grids[0].shape, union))
        for iterations in (1, len(grids)):
            mask = map_mask(grids[:iterations].max(0), union.shape)
            note("grounding", f"G={iterations}", key[1], "coverage", covered(mask, union))
        mask = map_mask(grids.max(0), union.shape)
        note("pseudo_labels", "gradcam", key[1], "iou", best_iou(mask, real))
    for score, pairs in _other_scores(job, sizes):
        for key, grid in pairs:
            if key in objects:
                union = np.any([decode(o["segmentation"]) for o in objects[key]], axis=0)
                note("grounding", score, key[1], "pointing", points_at(grid, union))
    for table, kind in (("proposals", "selective_search"), ("wspn_proposals", "wspn")):
        found = {row["image_id"]: row["boxes"] for row in job.rows(table) if row["image_id"] in sizes}
        for row in truth:
            if not row["iscrowd"]:
                boxes = found.get(row["image_id"], np.zeros((0, 4)))
                note("proposals", kind, row["category"], "recall50", box_recall(boxes[:50], row["bbox"]))
                note("proposals", kind, row["category"], "recall", box_recall(boxes, row["bbox"]))
    labels = []
    for row in job.rows("pseudo_masks"):
        key = row["image_id"], row["category"]
        if row["image_id"] not in sizes or row["category"] not in known:
            continue
        box = row["box"]
        labels.append(row | {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]})
        if key in objects:
            mask = decode(row["segmentation"])
            real = [decode(o["segmentation"]) for o in objects[key]]
            note("pseudo_labels", "mask", key[1], "iou", best_iou(mask, real))
            note(
                "pseudo_labels", "box", key[1], "recall50", max(box_recall(box[None], o["bbox"]) for o in objects[key])
            )
        else:
            note("pseudo_labels", "mask", key[1], "iou", 0.0)
    with job.writer("label_metrics") as writer:
        for (protocol, kind, group, metric), values in sorted(measured.items()):
            writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=float(np.mean(values)))
        for protocol, found in (("pseudo_labels", labels), ("gradcam_labels", thresholded)):
            for kind in ("bbox", "segm"):
                for group, values in average_precision(sizes, truth, found, groups, kind).items():
                    for metric, value in values.items():
                        writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=value)


def _label_of_map(row: dict, mask) -> dict | None:
    """The thresholded map of a pair as a label of its own (OVIS, Table 3, GradCAM): scored by its match logit."""
    from pycocotools import mask as coco_mask

    from structures.masks import encode

    segmentation = encode(mask)
    x, y, width, height = (float(v) for v in coco_mask.toBbox(segmentation))
    if not width:
        return None
    about = {"image_id": row["image_id"], "category": row["category"], "score": float(row["itm_logit"][0])}
    return about | {"bbox": [x, y, width, height], "segmentation": segmentation}


def _measured_images(job) -> dict[str, tuple[int, int]]:
    """(height, width) of the training images that count: all, or so many as the parameter `images` says, evenly spread."""
    train = sorted(
        (row["image_id"], row["height"], row["width"]) for row in job.rows("images") if row["split"] == "train"
    )
    every = max(1, len(train) // job.params.images) if job.params.images else 1
    return {image_id: (height, width) for image_id, height, width in train[::every]}


def _other_scores(job, measured):
    """For each score asked for the first map of every pair of the measured images, by (image_id, category)."""
    from models.grounding.grounder import Grounder
    from models.grounding.pairs import named_pairs
    from models.pixels import square
    from models.vision_language.interface import load_model
    from pipeline.prefetch import ahead
    from sources.images import ImageError
    from store.join import named_images
    from structures.progress import progress

    p = job.params
    model, tokenizer = load_model(job.files["weights"], job.files.get("tokens"), p)
    images = [image for image in named_images(job) if image[0] in measured]
    total = sum(len({row["category"] for row in nouns}) for _, _, nouns in images)

    def read(image: tuple):
        return named_pairs(job.root, *image[1:], lambda picture: square(picture, model.image_size))

    for score in p.scores:
        grounder = Grounder(
            model,
            tokenizer,
            layers=p.layers,
            score=score,
            masking="pair",
            iterations=1,
            threshold=0.5,
            batch=p.batch,
            device=job.device,
        )
        read_ahead = ahead(read, images, threads=job.threads)
        pairs = (pair for found in read_ahead if not isinstance(found, ImageError) for pair in found)
        shown = progress(pairs, description=f"maps with score {score}", unit="pair", total=total)
        marked = ((pair, grounder.tokens(pair)) for pair in shown)
        found = grounder.ground((pair, nouns) for pair, nouns in marked if nouns is not None)
        yield score, (((pair.image_id, pair.category), maps[0]) for pair, maps, _ in found)


if __name__ == "__main__":
    STAGE.main(run)
