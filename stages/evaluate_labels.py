"""Measure every step before the detector against the truth: maps, iterative masking, proposals, pseudo-masks."""

from collections.abc import Iterator

from pipeline.conditions import later_round
from pipeline.stage import Input, Stage

STAGE = Stage(
    name="evaluate_labels",
    reads=(
        "images",
        "categories",
        "annotations",
        "judged",
        "nouns",
        "gradcam",
        "proposals",
        "wspn_proposals",
        "pseudo_boxes",
        "pseudo_masks",
        Input("round_masks", when=later_round),
    ),
    writes=("label_metrics",),
    shares=("vision_language", "propose.by"),
    gpu=1,
    mem_mb=16000,
    runtime=240,
)

LABELS = {"pseudo_masks": "pseudo_labels", "round_masks": "round_labels"}  # table: protocol


def run(job) -> None:
    import numpy as np

    from evaluation.average_precision import average_precision
    from evaluation.ground_truth import annotations_by_image_and_category, pairs_without_outline
    from evaluation.judged import judged_categories, not_exhaustive_pairs, of_judged
    from sources.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(job.paths("categories")[0])
    groups = {"base": vocabulary.base, "novel": vocabulary.novel, "all": vocabulary.measured}
    sizes = _measured_images(job)
    known = set(vocabulary.measured)
    truth = [row for row in job.rows("annotations") if row["image_id"] in sizes and row["category"] in known]
    judged = judged_categories(job.rows("judged"), sizes)
    not_exhaustive = not_exhaustive_pairs(job.rows("judged"), sizes)
    partial = not_exhaustive | pairs_without_outline(truth)  # of which not all masks are known
    objects = annotations_by_image_and_category(
        row for row in truth if (row["image_id"], row["category"]) not in partial
    )
    values: dict[tuple[str, str, str, str], list[float]] = {}

    def note(protocol: str, kind: str, category: str, metric: str, value: float) -> None:
        for group in (vocabulary.group(category), "all"):
            values.setdefault((protocol, kind, group, metric), []).append(float(value))

    labels = {"gradcam_labels": list(of_judged(_thresholded_maps(job, sizes, objects, note), judged))}
    for table, protocol in LABELS.items():
        if job.has(table):
            masks = (row for row in job.rows(table) if row["image_id"] in sizes and row["category"] in known)
            labels[protocol] = list(_measured_labels(protocol, of_judged(masks, judged), objects, partial, note))
            _measure_instances(protocol, labels[protocol], _named(job, objects), note)
    _measure_other_scores(job, sizes, objects, note)
    _measure_proposals(job, sizes, truth, note)
    with job.writer("label_metrics") as writer:
        for (protocol, kind, group, metric), measured in sorted(values.items()):
            writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=float(np.mean(measured)))
        for protocol, rows in labels.items():
            for kind in ("bbox", "segm"):
                scores = average_precision(sizes, truth, rows, groups, kind, not_exhaustive=not_exhaustive)
                for group, metrics in scores.items():
                    for metric, value in metrics.items():
                        writer.add(protocol=protocol, kind=kind, group=group, metric=metric, value=value)


def _measured_images(job) -> dict[str, tuple[int, int]]:
    """(height, width) of the training images that count: all, or so many as the parameter `images` says, evenly
    spread."""
    train = [(row["image_id"], row["height"], row["width"]) for row in job.images("train")]
    every = max(1, len(train) // job.params.images) if job.params.images else 1
    return {image_id: (height, width) for image_id, height, width in train[::every]}


def _union(annotations: list[dict]):
    """All true masks of a category in an image as one, height x width bool."""
    import numpy as np

    from structures.masks import decode

    return np.any([decode(row["segmentation"]) for row in annotations], axis=0)


def _named(job, objects: dict) -> dict[tuple[str, str], list]:
    """The outlines of the true objects of each pair of an image and a category that its captions name, crowds left out."""
    named = {(row["image_id"], row["category"]) for row in job.rows("nouns", ["image_id", "category"])}
    return {
        pair: [row["segmentation"] for row in annotations if not row["iscrowd"]]
        for pair, annotations in objects.items()
        if pair in named
    }


def _measure_instances(protocol: str, labels: list[dict], named: dict, note) -> None:
    """Of the true objects that captions name the share that a label of their own outlines, and of the labels of these
    nouns the share that outlines one."""
    from evaluation.label_quality import match_instances

    of_pair: dict[tuple[str, str], list] = {}
    for row in labels:
        of_pair.setdefault((row["image_id"], row["category"]), []).append(row["segmentation"])
    for (image_id, category), truth in named.items():
        found = of_pair.get((image_id, category), [])
        hits = match_instances(found, truth)
        for i in range(len(truth)):
            note(protocol, "instances", category, "recall50", i < hits)
        for i in range(len(found)):
            note(protocol, "instances", category, "precision50", i < hits)


def _thresholded_maps(job, sizes: dict, objects: dict, note) -> Iterator[dict]:
    """Measure the maps; thresholded they are labels of their own (OVIS, Table 3, GradCAM), scored by their match
    logit."""
    from pycocotools import mask as coco_mask

    from evaluation.label_quality import best_iou, coverage, pointing_chance, pointing_hit, threshold_map
    from models.grounding.maps import activation_maps
    from structures.masks import encode
    from structures.progress import progress

    for row in progress(job.rows("gradcam"), description="measuring maps", unit="map", total=job.count("gradcam")):
        image_id, category = row["image_id"], row["category"]
        if image_id not in sizes:
            continue
        maps = activation_maps(row)
        mask = threshold_map(maps.max(0), sizes[image_id])
        segmentation = encode(mask)
        bbox = [float(v) for v in coco_mask.toBbox(segmentation)]
        if bbox[2]:
            label = {"bbox": bbox, "segmentation": segmentation, "score": float(row["itm_logit"][0])}
            yield {"image_id": image_id, "category": category, **label}
        if (image_id, category) not in objects:
            continue
        annotations = objects[image_id, category]
        union = _union(annotations)
        note("grounding", "run", category, "pointing", pointing_hit(maps[0], union))
        note("grounding", "run", category, "pointing_chance", pointing_chance(maps[0].shape, union))
        for iterations in (1, len(maps)):
            activated = threshold_map(maps[:iterations].max(0), union.shape)
            note("grounding", f"G={iterations}", category, "coverage", coverage(activated, union))
        iou = best_iou(segmentation, [annotation["segmentation"] for annotation in annotations])
        note("pseudo_labels", "gradcam", category, "iou", iou)


def _measure_other_scores(job, sizes: dict, objects: dict, note) -> None:
    """The pointing of each score that is asked for, on the first map of every pair of the measured images."""
    from evaluation.label_quality import pointing_hit
    from models.grounding.grounder import Grounder
    from models.grounding.pairs import named_pairs
    from models.pixels import square
    from models.vision_language.interface import load_model

    p = job.params
    if not p.scores:
        return
    model, tokenizer = load_model(**job.model_options("vision_language"))
    for score in p.scores:
        grounder = Grounder(
            model,
            tokenizer,
            layers=job.shared.vision_language.layers,
            score=score,
            masking="pair",
            iterations=1,
            threshold=0.5,
            batch=p.batch,
            device=job.device,
        )
        images = job.by_image("nouns")
        pictures = job.pictures(
            (item for item in images if item[0]["image_id"] in sizes),
            lambda picture, *_: square(picture, model.image_size),
            description=f"maps with score {score}",
            total=len(sizes),
        )
        pairs = (pair for _, nouns, picture in pictures for pair in named_pairs(nouns, picture))
        marked = ((pair, grounder.tokens(pair)) for pair in pairs)
        for pair, maps, _ in grounder.ground((pair, tokens) for pair, tokens in marked if tokens is not None):
            if (pair.image_id, pair.category) in objects:
                union = _union(objects[pair.image_id, pair.category])
                note("grounding", score, pair.category, "pointing", pointing_hit(maps[0], union))


def _measure_proposals(job, sizes: dict, truth: list[dict], note) -> None:
    """The recall of selective search and, where there is one, of WSPN, of their first 50 boxes and of all."""
    import numpy as np

    from evaluation.label_quality import box_recall

    tables = [("proposals", "selective_search")] + [("wspn_proposals", "wspn")] * (job.shared.propose.by == "wspn")
    for table, kind in tables:
        boxes_of = {row["image_id"]: row["boxes"] for row in job.rows(table) if row["image_id"] in sizes}
        for row in truth:
            if not row["iscrowd"]:
                boxes = boxes_of.get(row["image_id"], np.zeros((0, 4)))
                note("proposals", kind, row["category"], "recall50", box_recall(boxes[:50], row["bbox"]))
                note("proposals", kind, row["category"], "recall", box_recall(boxes, row["bbox"]))


def _measured_labels(protocol: str, pseudo_masks: Iterator[dict], objects: dict, partial: set, note) -> Iterator[dict]:
    """Measure pseudo-masks and their boxes, but those of partial pairs of an image and a category; each as a label with an xywh
    box."""
    from evaluation.label_quality import best_iou, box_recall
    from structures.boxes import xyxy_to_xywh

    for row in pseudo_masks:
        yield row | {"bbox": xyxy_to_xywh(row["box"]).tolist()}
        if (row["image_id"], row["category"]) in partial:
            continue
        annotations = objects.get((row["image_id"], row["category"]), [])
        segmentations = [annotation["segmentation"] for annotation in annotations]
        iou = best_iou(row["segmentation"], segmentations)
        note(protocol, "mask", row["category"], "iou", iou)
        note(protocol, "mask", row["category"], "share50", iou >= 0.5)
        if annotations:
            recall = max(box_recall(row["box"][None], annotation["bbox"]) for annotation in annotations)
            note(protocol, "box", row["category"], "recall50", recall)


if __name__ == "__main__":
    STAGE.main(run)
